"""Ground floor: errors, checks, files, random streams; nothing of images or nets."""
