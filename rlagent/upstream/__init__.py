"""Every patch of foreign code, one file per library, each with its reason and versions."""
