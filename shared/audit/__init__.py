"""Who changed what, when, and by which key."""
