"""Running a model on a device."""
