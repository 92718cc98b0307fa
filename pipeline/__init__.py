"""The engine: stages, parts, Ray. It knows nothing of speech."""
