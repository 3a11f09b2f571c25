"""Values only, no torch: every number, with its source."""
