/** Prepared views of Look, one per page of docs/ideas: a text, the runs that show it best, and what to look for. */

const LINE = "ROMEO: But soft, what light through yonder window";

/** A want is {families, having, command}: `having` are settings that the run must have, by flat name. */
export const IDEAS = [
  {
    id: "recurrence",
    title: "Recurrence",
    text: LINE,
    wants: [
      { families: ["rnn"], having: { "model.cell": "elman" }, command: "python chargpt.py --model.type=rnn --model.cell=elman" },
      { families: ["rnn"], having: { "model.cell": "lstm" }, command: "python chargpt.py --model.type=rnn --model.cell=lstm" },
    ],
    look: [
      "Hidden state: each column is the memory after one character. The rows at the top keep their colour for long, so they remember something; those at the bottom change with every character.",
      "Dependency map: how far below the diagonal is there colour? That far back a character still moves the prediction. An LSTM should reach further than an Elman cell.",
    ],
  },
  {
    id: "bidirectional",
    title: "Both directions",
    text: "ROMEO: But soft, what light",
    wants: [
      { families: ["birnn"], having: { "model.reading": "full" }, command: "python chargpt.py --model.type=birnn --model.reading=full" },
      { families: ["rnn", "gpt"], having: {}, command: "python chargpt.py --model.type=rnn" },
    ],
    look: [
      "Dependency map: colour above the diagonal is a prediction moved by a later character. The network that reads both ways has it, so it has seen its answers and is no language model.",
      "The other model's upper triangle is empty, to the last bit.",
    ],
  },
  {
    id: "attention",
    title: "Attention",
    text: LINE,
    wants: [{ families: ["gpt"], having: {}, command: "python chargpt.py" }],
    look: [
      "Point at a character: the arcs show where the chosen head looks. Try each head: some look one or two back, some at the beginning of the word, some at spaces.",
      "Attention is not dependence. Compare the two maps: a weight may be large and the prediction hardly move.",
    ],
  },
  {
    id: "window",
    title: "A sliding window",
    text: LINE,
    wants: [{ families: ["gpt"], having: { "model.window": true }, command: "python chargpt.py --model.window=8 --model.rope=True" }],
    look: [
      "Attention is a band: each character attends to itself and the few before it, and no further (the dashed line).",
      "The dependency map is wider than the band: with every layer the reach grows by the window less one.",
    ],
  },
  {
    id: "positions",
    title: "Positions",
    text: "to be or not to be or not to be or not to be",
    wants: [
      { families: ["gpt"], having: { "model.rope": true }, command: "python chargpt.py --model.rope=True" },
      { families: ["gpt"], having: { "model.rope": false }, command: "python chargpt.py" },
    ],
    look: [
      "The text repeats. With rotary positions a head's pattern repeats along the diagonal, since scores depend on distances only; with learned positions each place has its own.",
      "Look at the colours of the text: is the second “or not” less surprising than the first?",
    ],
  },
  {
    id: "grouped-heads",
    title: "Grouped heads",
    text: LINE,
    wants: [{ families: ["gpt"], having: { "model.n_kv_head": true }, command: "python chargpt.py --model.n_query_head=4 --model.n_kv_head=2" }],
    look: [
      "Heads in one frame share keys and values. Their maps may still differ: each has queries of its own.",
      "Do heads of one frame look more alike than heads of two?",
    ],
  },
  {
    id: "cache",
    title: "The cache",
    text: LINE,
    wants: [{ families: ["gpt"], having: {}, command: "python chargpt.py" }],
    look: [
      "Each row of a map is one step of generation: it reads the keys of all columns up to the diagonal. Those are what the cache keeps, so that a step computes one row only.",
      "With a window a row never reads further back than the band: the cache is a ring of that size.",
    ],
  },
  {
    id: "ngrams",
    title: "N-grams",
    text: LINE,
    wants: [
      { families: ["ngram"], having: {}, command: "python chargpt.py --model.type=ngram --model.order=6" },
      { families: ["gpt"], having: {}, command: "python chargpt.py" },
    ],
    look: [
      "The n-gram's dependency map is a band of its order: nothing further back can move a prediction.",
      "Compare the colours of the text: rare words surprise a table of counts more than a network, common endings less.",
    ],
  },
];

const has = (run, having) =>
  Object.entries(having).every(([name, value]) => {
    const own = run.ideas?.[name];
    if (typeof value === "boolean") return Boolean(own) === value;
    return String(own) === value;
  });

/** For each want of an idea the run that fits it best, or null: finished ones first, of these the lowest validation loss. */
export function runsFor(idea, runs) {
  const taken = new Set();
  const rank = (run) => (run.status === "finished" ? run.val_loss ?? 1e6 : 1e9);
  const best = [...runs].sort((a, b) => rank(a) - rank(b));
  return idea.wants.map(({ families, having }) => {
    const found = best.find((run) => !taken.has(run.name) && families.includes(run.family) && has(run, having));
    if (found) taken.add(found.name);
    return found ?? null;
  });
}
