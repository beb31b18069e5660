"""Forward and backward of several implementations, timed on the same inputs."""
