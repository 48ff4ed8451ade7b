"""What the broker is told: typed settings, and the limits with their defaults and reasons."""
