"""Reader study: how well people decide alone, and with a model's advice.

The design is that of clinical reader studies: a first answer alone, then the model's advice, then a final
answer. `make_study` draws the cases, `summarize` turns the answers into metrics; `read_csv` and `to_csv`
convert the answers. Pure functions of arrays and rows.

    study = make_study("bloodmnist", "cnn", labels, predicted, cases=20, conditions=("none", "answer"))
    summary = summarize(read_csv(text))
"""

from medvit.reader_study.results import COLUMNS, CaseResult, read_csv, to_csv
from medvit.reader_study.study import CONDITIONS, Case, Study, make_study
from medvit.reader_study.summary import conclusion, summarize

__all__ = [
    "COLUMNS",
    "CONDITIONS",
    "Case",
    "CaseResult",
    "Study",
    "conclusion",
    "make_study",
    "read_csv",
    "summarize",
    "to_csv",
]
