"""The reports that are kept: every version as it came, what was read in it, what people said of that.

In come `dicomsvc.reports.intake.received.ReceivedReport` (`receiving.enter`), structured reports (`reading.write`) and
people's reviews (`reviews.review`); out go single reports and what holds of them after review (`whole`), and tables of
many (`search`). `linking` knows which study a report belongs to.
"""
