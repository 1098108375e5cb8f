"""The token trace: its columns, its recorder, its digest."""
