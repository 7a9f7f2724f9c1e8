"""What turns events into invocations: one module per kind of trigger.

Each imitates the .NET host's own listener of that kind.
"""
