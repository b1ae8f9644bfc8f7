"""Many edits as one: from a stream of lines to jobs, and back to lines."""
