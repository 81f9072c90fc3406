"""Faults in mingpt/core/ and mingpt/distributed/: parsing, files, statistics, signals, threads and processes."""

from tests.mutants.fault import Fault

PARSING = "mingpt/core/safe_parsing.py"
FILES = "mingpt/core/atomic_io.py"
STATISTICS = "mingpt/core/statistics.py"
SIGNALS = "mingpt/core/signals.py"
VARIANTS = "mingpt/core/variants.py"
THREADS = "mingpt/distributed/threads.py"
STRATEGY = "mingpt/distributed/strategy.py"
PROCESSES = "mingpt/distributed/ddp_fsdp.py"

FAULTS = [
    Fault(PARSING, "if self.check_event(yaml.AliasEvent):", "if False:", "YAML aliases are expanded"),
    Fault(PARSING, "if len(content) > size:", "if False:", "a file that grows is read"),
    Fault(PARSING, "if values > LINES_VALUES:", "if False:", "a file of many small values is read whole"),
    Fault(PARSING, "if length > HEADER_BYTES:", "if False:", "a huge safetensors header is parsed"),
    Fault(
        PARSING,
        "if path.resolve() != folder.resolve() / path.relative_to(folder):",
        "if False:",
        "a picture behind a link is shown",
    ),
    Fault(PARSING, "if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):", "if False:", "a pipe is read"),
    Fault(
        PARSING,
        "validate_python(value, strict=True)",
        "validate_python(value, strict=False)",
        "records are checked leniently",
    ),
    Fault(
        PARSING,
        "if len(line) <= LINE_BYTES and not file.read(1):",
        "if len(line) <= LINE_BYTES:",
        "a damaged line ends a file silently",
    ),
    Fault(
        FILES,
        "        os.replace(name, path)\n",
        "        path.write_bytes(name.read_bytes())\n",
        "files are written in place",
    ),
    Fault(
        FILES,
        "            sync(file.fileno())\n        os.replace",
        "        os.replace",
        "files are renamed before they are on the disk",
    ),
    Fault(FILES, "        if not free:\n            raise _held(folder)", "", "two processes train in one folder"),
    Fault(
        FILES,
        "        with contextlib.suppress(OSError):\n            os.unlink(name)",
        "        pass",
        "a failed write leaves its draft",
    ),
    Fault(STATISTICS, "2 * stats.t.sf(abs(mean)", "stats.t.sf(abs(mean)", "one-sided p for two-sided"),
    Fault(
        STATISTICS, "(spread / math.sqrt(n)), n - 1))", "(spread / math.sqrt(n)), n))", "a degree of freedom too many"
    ),
    Fault(STATISTICS, "(len(chances) - rank) * chances[place]", "len(chances) * chances[place]", "Bonferroni for Holm"),
    Fault(STATISTICS, "largest = max(largest, min(1.0,", "largest = min(1.0, max(0.0,", "corrected p-values may fall"),
    Fault(STATISTICS, "np.std(values, ddof=1)", "np.std(values)", "spread of a population"),
    Fault(
        STATISTICS,
        "stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)",
        "stats.norm.ppf((1 + CONFIDENCE) / 2)",
        "normal interval for few seeds",
    ),
    Fault(
        STATISTICS, "found.low > -margin and found.high < margin", "abs(found.mean) < margin", "equivalence by the mean"
    ),
    Fault(
        STATISTICS,
        "float(first[seed] or 0) - float(second[seed] or 0)",
        "float(second[seed] or 0) - float(first[seed] or 0)",
        "sign of a difference",
    ),
    Fault(SIGNALS, "not in (signal.SIG_IGN, None)]", "is not None]", "an ignored signal stops a run"),
    Fault(
        SIGNALS,
        "signal.signal(each, signal.SIG_DFL)",
        "pass",
        "a second signal does not end a process",
        equivalent="the watching thread ends the process at the second signal; SIG_DFL is the second line of defence",
    ),
    Fault(SIGNALS, "{name: 128 + number for", "{name: number for", "exit codes of signals"),
    Fault(
        VARIANTS, 'raise unknown(f"{group}.{name}" if group else name, value, names)', "pass", "an unknown name passes"
    ),
    Fault(
        "mingpt/trainer.py",
        "torch.autograd.grad(loss, trained, allow_unused=True)",
        "torch.autograd.grad(2 * loss, trained, allow_unused=True)",
        "gradients of threads doubled",
    ),
    Fault(
        THREADS, "with torch.set_grad_enabled(grad):", "with torch.set_grad_enabled(True):", "threads ignore no_grad"
    ),
    Fault(THREADS, "if rows % count == 0)", ")", "pieces of unequal size"),
    Fault(THREADS, "p.grad = terms[0].clone()", "p.grad = terms[0]", "parameters share a gradient tensor"),
    Fault(
        STRATEGY,
        "count = -(-accumulation // self.size)",
        "count = accumulation",
        "accumulation is not shared by processes",
    ),
    Fault(
        PROCESSES,
        "batch.chunk(self.size)[self.rank]",
        "batch.chunk(self.size)[0]",
        "both processes train on the same rows",
    ),
    Fault(
        PROCESSES, "self.path = (self.rank,) if self.rank else ()", "self.path = ()", "processes share dropout masks"
    ),
    Fault(
        PROCESSES,
        "nullcontext() if last else self._replica.no_sync()",
        "self._replica.no_sync()",
        "gradients are not averaged",
    ),
    Fault(
        PROCESSES,
        "yield tasks[start + self.rank if own else start], own",
        "yield tasks[start + self.rank if own else start], True",
        "padding counts in an evaluation",
    ),
    Fault(PROCESSES, "dist.all_reduce(lowest, dist.ReduceOp.MIN)", "pass", "a request to stop stays in one process"),
    Fault(
        "mingpt/distributed/compile_fallback.py",
        "return (forward if failed else compiled), failed",
        "return compiled, failed",
        "a failing compiler is kept",
    ),
]
