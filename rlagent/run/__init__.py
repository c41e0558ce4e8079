"""Everything about one run on disk and on screen: folder, statistics, mirrors, display."""
