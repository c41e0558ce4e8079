"""One attempt at a run: what is decided, Ray, the session of actors, watching, endings."""
