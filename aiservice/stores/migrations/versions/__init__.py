"""One file per revision, named `r<revision>_<subject>.py`; a revision that was released never changes."""
