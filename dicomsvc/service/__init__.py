"""The service's processes: one supervisor, and a process for each role (web, dimse, worker, triton).

Roles keep no state that another needs. The supervisor starts the embedded database where none is configured, brings the
schema up to date, cleans up after a crash, starts the roles, and starts them again when they die.
"""
