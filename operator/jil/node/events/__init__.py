"""What a node tells the others: the event envelope, and the outbox in which it waits to be published.

An event is written into the outbox in the same database transaction as the change that it tells of, so neither can
exist without the other. Reading the outbox and publishing it is another program's task.
"""
