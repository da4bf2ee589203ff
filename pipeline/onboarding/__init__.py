"""What `init` finds out about a stranger's folders, and the files that it writes."""
