"""What serves an event: handlers, their arguments and results, middleware, and who listens to what."""
