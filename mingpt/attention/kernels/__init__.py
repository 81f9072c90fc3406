"""Ways to compute causal attention, each `attend(q, k, v, dropout_p) -> (b, h, t, d)`.

q is `(b, h, t, d)`; k and v are `(b, g, s, d)` with g dividing h: query head i reads key/value head i // (h/g).
The t queries are the last t of the s positions, so query i sees key j where j <= i + s - t.
"""
