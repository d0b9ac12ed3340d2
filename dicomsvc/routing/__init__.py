"""Routing: what is done with what has arrived, and getting it there.

In comes the store's change feed, out go C-STORE (PS3.4 B), STOW-RS (PS3.18 10.5), Instance Availability Notifications
(PS3.4 R), webhooks and requests for analyses. `rules` are read from the settings, `intake` finds what they are for,
`firing` makes *forwards* of it, `admission` gives those to the workers a few at a time, `forwarding` carries one out.
"""
