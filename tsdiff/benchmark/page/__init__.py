"""The parts of the report: what is compared with what, sentences, tables, charts' numbers, markup.

``groups`` puts runs of the same windows together, ``findings`` says in words what came out,
``tables`` and ``settings`` print it, ``charts`` holds the numbers that the page's scripts draw;
``markup`` is how text becomes HTML, and ``assets`` are the page's own style and scripts.
"""
