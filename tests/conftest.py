"""Being here puts tests/ on the import path, so that tests share helpers such as fabricated.py."""
