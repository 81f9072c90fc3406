"""Faults in mingpt/cli/: the command line, its live view and the page of `play`."""

from tests.mutants.fault import Fault

MAIN = "mingpt/cli/main.py"
PLOT = "mingpt/cli/terminal_plot.py"
SECURITY = "mingpt/cli/play/security.py"

FAULTS = [
    Fault(
        MAIN,
        "return _refuse(error, error.exit_code, debug)",
        "return _refuse(error, 1, debug)",
        "every error ends in code 1",
    ),
    Fault(
        MAIN,
        'return _refuse("interrupted", 130, debug)',
        'return _refuse("interrupted", 0, debug)',
        "Ctrl-C ends in code 0",
    ),
    Fault(MAIN, "if name not in COMMANDS:", "if False:", "an unknown command is looked up"),
    Fault(
        MAIN,
        "c if c.isprintable() else ascii(c)[1:-1] for c in line",
        "c for c in line",
        "errors print control characters",
    ),
    Fault(
        PLOT,
        "return round(min(max(share, 0), 1) * (4 * self.rows - 1))",
        "return round(share * (4 * self.rows - 1))",
        "a loss outside the plot is drawn outside",
    ),
    Fault(
        PLOT,
        "share = (self.high - loss) / (self.high - self.low)",
        "share = (loss - self.low) / (self.high - self.low)",
        "the plot is upside down",
    ),
    Fault(
        PLOT,
        "[(step / number, loss / number) for step",
        "[(step / number, loss) for step",
        "training losses of a bucket are summed",
    ),
    Fault(
        SECURITY,
        "if given is None or not secrets.compare_digest(given.encode(), self._token.encode()):",
        "if given is None:",
        "any token opens the page's data",
    ),
    Fault(
        SECURITY,
        "if not all(_same_site(origin, hosts[0]) for origin in origins):",
        "if False:",
        "another site may ask the server",
    ),
    Fault(
        SECURITY,
        "if len(hosts) != 1 or not self._names.serve(hosts[0]):",
        "if len(hosts) != 1:",
        "any host name is served",
    ),
]
