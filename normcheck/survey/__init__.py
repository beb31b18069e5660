"""A survey: judge the normalizations of installed libraries, each in its own process."""
