"""The demo's own data: a source and pinned packages."""
