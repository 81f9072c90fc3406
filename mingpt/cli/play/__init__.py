"""`chargpt play`: a page on this machine that shows trained models at work.

command.py is the command; server.py the requests; security.py who may make them; catalogue.py the run folders that
there are; worker.py and models.py where models compute; the other files answer one view's requests each.  The page is
in static/.
"""
