"""What every other room may use and what uses none: errors, words, secrets, processes, locks."""
