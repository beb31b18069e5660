"""What the pytest plugin does once a test of ours is there."""
