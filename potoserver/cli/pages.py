"""What `--help` says below the options: examples, and what the exit status means."""

from __future__ import annotations

# A paragraph that begins with \b is not wrapped anew.

STATUSES = """\b
Exit status:
  0    all went well
  1    something failed, or was found, or is left for the next start
  2    bad configuration or usage; one line says what
  130  interrupted with Ctrl+C
"""

ROOT = f"""\b
Examples:
  potoserver                               serve on http://localhost:3799
  potoserver --port 4000 --data-dir /srv   the same elsewhere
  potoserver check --config my.yaml        would it start?
  potoserver --install-completion          complete commands with TAB

{STATUSES}"""

SERVE = f"""\b
Examples:
  potoserver serve --port 0                 on any free port
  DEBUG='session:*' potoserver serve        with debug lines of the sessions
  potoserver --engine valkey://localhost:6379/0 --workers 4
                                            as four processes on one port

{STATUSES}"""

CHECK = """\b
Examples:
  potoserver check
  potoserver check --config /etc/potoserver.yaml --data-dir /srv/potoserver

\b
Exit status:
  0  a server could start here (what is marked `note` deserves a look)
  1  something marked `wrong` is in its way
  2  bad configuration or usage; one line says what
"""

TOKEN = f"""\b
Examples:
  potoserver token                     a new token, and the settings for it
  potoserver token - < my-token.txt    one of your own, in no list of processes

{STATUSES}"""

MODULES = f"""\b
Examples:
  potoserver modules                   what is there, and what it offers
  potoserver modules new greeter       begin a plugin of your own

{STATUSES}"""

MODULES_NEW = f"""\b
Examples:
  potoserver modules new greeter
  potoserver modules new BirthdayWishes

{STATUSES}"""
