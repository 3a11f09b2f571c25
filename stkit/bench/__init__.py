"""Many trainings on one machine, planned, run and gone on with."""
