"""HOW WE TELL a CI system: sections, annotations and summaries as text; this package must never print or write."""
