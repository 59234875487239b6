"""How finished records leave the process."""
