"""The medvit demo: python app.py, then open http://127.0.0.1:7860"""

import sys

from medvit.cli import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
