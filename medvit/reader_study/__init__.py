"""Reader study: how well people decide alone, and with a model's advice.

The design is that of clinical reader studies: a first answer alone, then the model's advice, then a final
answer. `make_study` draws the cases, a `Session` is the reading of them by one reader, `summarize` turns the
answers into metrics; `read_csv` and `to_csv` convert the answers. Pure functions of arrays and rows.

    study = make_study("bloodmnist", "cnn", labels, predicted, cases=20, conditions=("none", "answer"))
    summary = summarize(read_csv(text))
"""

from medvit.reader_study.results import COLUMNS, CaseResult, positive_classes, read_csv, to_csv
from medvit.reader_study.session import Judgement, Session
from medvit.reader_study.study import CONDITIONS, Case, Study, make_study
from medvit.reader_study.summary import conclusion, summarize

__all__ = [
    "COLUMNS",
    "CONDITIONS",
    "Case",
    "CaseResult",
    "Judgement",
    "Session",
    "Study",
    "conclusion",
    "make_study",
    "positive_classes",
    "read_csv",
    "summarize",
    "to_csv",
]
