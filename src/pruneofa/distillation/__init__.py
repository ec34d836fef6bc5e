"""Learning from a dense teacher: losses, and the distiller that combines them with the task's own."""
