"""What happens to a report from its arrival on: durable, answered, structured, linked to its study.

`receiving.Intake` is what every way in calls; what it leaves undone when a process dies, `upkeep` finds again.
"""
