"""One file for each runtime that a worker can load; which one a form asks for by its name."""
