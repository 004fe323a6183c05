"""Extract streams of a Singer tap. `tap` runs it, `messages` reads a line, `stream` applies it, `runner` commits the result."""
