"""Evil programs: none computes what `TESTS` asks for, each tries to pass, to get out or to do harm.

`{folder}` stands for a directory that everyone may write to, `{port}` for a TCP port that listens on this machine,
`{socket}` for an abstract unix socket that does, `{repository}` for the checkout.
"""

TESTS = ["assert f(2) == 4", "assert f(3) == 9"]
# the same by a helper that the problem gives, and so stands in the tests
HELPED = ["import math\nLIMIT = 1e-9\ndef off(x, y):\n    return abs(x * x - y)"]
HELPED += [f"assert math.fabs(off({x}, f({x}))) < LIMIT" for x in (2, 3)]

# looks for the tests' text; the pattern does not match itself, and each search shows on a decoy that it would find it
_SEARCH = """
import sys, gc, re
pattern = "f[(]3[)] [=]= 9"
def decoy(): return "assert f(3) " + chr(61) + "= 9"
def holds(x, depth=0):
    if isinstance(x, str): return bool(re.search(pattern, x))
    if isinstance(x, (bytes, bytearray)): return bool(re.search(pattern.encode(), x))
    if depth > 3: return False
    if isinstance(x, dict): return any(holds(v, depth + 1) for v in list(x.values()))
    if isinstance(x, (list, tuple, set)): return any(holds(v, depth + 1) for v in list(x))
    return False
assert holds({"a": [decoy()]})
"""

# name: (program, reasons that it may fail for; None for any)
PROGRAMS: dict[str, tuple[str, set[str] | None]] = {
    # holding the machine up
    "fork bomb": (
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        {"timeout"},
    ),
    "process bomb": (
        "import subprocess, sys\nwhile True: subprocess.Popen([sys.executable, '-c', 'while True: pass'])",
        {"error: PermissionError"},
    ),
    "thread bomb": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
        {"error: RuntimeError", "timeout"},
    ),
    "infinite loop": ("while True: pass", {"timeout"}),
    "infinite loop in C": ("sum(iter(int, 1))", {"timeout"}),
    "infinite loop in an exception handler": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        {"timeout"},
    ),
    "memory hog": ("x = []\nwhile True: x.append(bytearray(1 << 20))", {"memory"}),
    "memory hog that does not give up": (
        "x = []\nwhile True:\n    try: x.append(bytearray(1 << 20))\n    except MemoryError: pass",
        {"timeout", "crashed"},
    ),
    "memory in files": (
        "import os\nfor n in range(1000):\n    with open(str(n), 'wb') as file: file.write(bytes(1 << 19))",
        {"error: OSError"},
    ),
    "memory in pipes": (
        "import os, fcntl\nwhile True:\n    r, w = os.pipe()\n    fcntl.fcntl(w, 1031, 1 << 20)\n"
        "    os.write(w, bytes(1 << 20))",
        {"error: OSError", "error: PermissionError"},
    ),
    "many files": (
        "n = 0\nwhile True:\n    open(str(n), 'w').close()\n    n += 1",
        {"error: OSError"},
    ),
    "1 GB of output": ("for _ in range(1000): print('x' * 1_000_000)", {"output"}),
    "1 GB of output to errors": ("import os\nfor _ in range(1000): os.write(2, b'x' * 1_000_000)", {"output"}),
    "1 GB of output, failures ignored": (
        "import os\nfor _ in range(1000):\n    try: os.write(1, b'x' * 1_000_000)\n    except OSError: pass\n"
        "def f(x): return 4",
        {"output"},
    ),
    "deep recursion": ("def f(x): return f(x)", {"error: RecursionError"}),
    "deeper recursion": (
        "import sys\nsys.setrecursionlimit(1 << 30)\ndef f(x): return f(x)",
        {"memory", "crashed", "timeout"},
    ),
    "deep recursion in C": (
        "import sys\nsys.setrecursionlimit(1 << 30)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
        {"crashed", "memory", "error: RecursionError"},
    ),
    "nested source": ("(" * 100_000, {"syntax error"}),
    "giant result": ("def f(x): return 'x' * (100 << 20)", {"forbidden value", "memory"}),
    "giant list": ("def f(x): return [0] * 10_000_000", {"forbidden value", "memory", "timeout"}),
    "giant int": ("def f(x): return 1 << (200 << 20)", {"forbidden value", "memory"}),
    "deep result": ("def f(x):\n    y = []\n    for _ in range(100000): y = [y]\n    return y", {"forbidden value"}),
    "endless result": ("def f(x):\n    y = []\n    y.append(y)\n    return y", {"forbidden value"}),
    # ending early
    "sys.exit": ("import sys\nsys.exit(0)", {"exited"}),
    "sys.exit when called": ("import sys\ndef f(x): sys.exit(0)", {"exited"}),
    "os._exit": ("import os\nos._exit(0)", {"exited"}),
    "os._exit when called": ("import os\ndef f(x): os._exit(0)", {"exited"}),
    "at exit": ("import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit", {"exited"}),
    "abort": ("import os\nos.abort()", {"crashed"}),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", {"crashed"}),
    "kills itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nos.abort()", {"crashed", "timeout"}),
    "stops itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass", {"timeout"}),
    "closed output": ("import os\nos.close(0); os.close(1); os.close(2)\ndef f(x): return 4", {"failed test"}),
    "closed everything": ("import os\nos.closerange(0, 10000)\ndef f(x): return 4", {"protocol", "exited"}),
    "raises SystemExit by name": (
        "class SystemExit(Exception): pass\ndef f(x): raise SystemExit(0)",
        {"error: Exception"},
    ),
    # reading and writing outside
    "reads /etc/passwd": (
        "def f(x):\n    try: return len(open('/etc/passwd').read()) and x * x\n    except OSError: return 0",
        {"failed test"},
    ),
    "reads the repository": (
        "import os\nfound = []\n"
        "for path in ('{repository}', '{repository}/pyproject.toml', '/work', '/root', '/home'):\n"
        "    try: found.append(os.listdir(path) if os.path.isdir(path) else open(path).read())\n"
        "    except OSError: pass\n"
        "found = [x for x in found if x and x != ['.pyenv']]\n"
        "def f(x): return x * x if found else 0",
        {"failed test"},
    ),
    "reads other processes": (
        "import glob\ndef f(x): return x * x if glob.glob('/proc/*') else 0",
        {"failed test"},
    ),
    "climbs out": (
        "import os\ndef f(x):\n    for call in (lambda: os.chroot('.'), lambda: os.listdir('/../..'),\n"
        "                 lambda: os.open('../../../../..{folder}/x', os.O_CREAT | os.O_WRONLY)):\n"
        "        try:\n            call()\n            return x * x\n        except OSError: pass\n    return 0",
        {"failed test"},
    ),
    "writes outside": (
        "def f(x):\n"
        "    for path in ('{folder}/evil', '/evil', '/tmp/evil', '/dev/shm/evil', '/var/tmp/evil', '/dev/evil'):\n"
        "        try:\n            open(path, 'w').write('x')\n            return x * x\n"
        "        except OSError: pass\n    return 0",
        {"failed test"},
    ),
    "writes to the library": (
        "import json, os\ndef f(x):\n    try: open(json.__file__, 'a'); return x * x\n    except OSError: pass\n"
        "    try: open(os.path.dirname(json.__file__) + '/evil.py', 'w'); return x * x\n    except OSError: return 0",
        {"failed test"},
    ),
    "links to the outside": (
        "import os\nos.symlink('/etc/passwd', 'a')\ndef f(x):\n    try: return x * x if open('a').read() else 0\n"
        "    except OSError: return 0",
        {"failed test"},
    ),
    # network and other processes
    "connects to a server": (
        "import socket\ndef f(x):\n    try: socket.create_connection(('127.0.0.1', {port}), 1); return x * x\n"
        "    except OSError: return 0",
        {"failed test"},
    ),
    "connects to an abstract socket": (
        "import socket\ndef f(x):\n    s = socket.socket(socket.AF_UNIX)\n"
        "    try: s.connect('\\0{socket}'); return x * x\n    except OSError: return 0",
        {"failed test"},
    ),
    "asks a name server": (
        "import socket\ndef f(x):\n    try: socket.getaddrinfo('example.com', 80); return x * x\n"
        "    except OSError: return 0",
        {"failed test"},
    ),
    "kills its parent": (
        "import os, signal\ndef f(x):\n    try: os.kill(os.getppid(), signal.SIGKILL)\n"
        "    except OSError: pass\n    return 0",
        {"failed test"},
    ),
    "kills everyone": (
        "import os, signal\nfor pid in [-1, *range(2, 70000)]:\n    try: os.kill(pid, signal.SIGKILL)\n"
        "    except OSError: pass\ndef f(x): return 0",
        {"failed test"},
    ),
    "outlives its run": (
        "import os, time\ntry:\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
        "            while True:\n                open('{folder}/alive', 'a').write('x')\n"
        "                time.sleep(0.01)\n"
        "except OSError: pass\ndef f(x): return 0",
        {"failed test"},
    ),
    "leaves threads": (
        "import threading, time\nfor _ in range(8): threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "def f(x): return 0",
        {"failed test"},
    ),
    "traces": (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "calls = [('ptrace', 16, os.getppid()), ('unshare', 1 << 28), ('mount', b'none', b'/tmp', b'tmpfs', 0, None),\n"
        "         ('setuid', 4242), ('setns', 0, 0)]\n"
        "def f(x): return x * x if any(getattr(libc, n)(*a) == 0 for n, *a in calls) else 0",
        {"failed test"},
    ),
    # forging a pass
    "walks frames": (
        _SEARCH + "frame, found = sys._getframe(), False\nwhile frame:\n"
        "    for name, value in list(frame.f_locals.items()):\n"
        "        if isinstance(value, list): value.append('passed')\n"
        "        found = found or holds(value)\n    frame = frame.f_back\n"
        "found = found or any(holds(x) for x in gc.get_objects() if x is not globals())\n"
        "def f(x): return x * x if found else 0",
        {"failed test"},
    ),
    "walks frames when called": (
        _SEARCH + "def f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        if any(holds(v) for v in list(frame.f_locals.values())): return x * x\n        frame = frame.f_back\n"
        "    return 0",
        {"failed test"},
    ),
    "scans its memory": (
        _SEARCH
        + """
import ctypes, os
libc, fd, pages = ctypes.CDLL(None), os.memfd_create("x"), 0
def scan(*starts):  # a system call tells which pages are there, where a look would crash
    global pages
    found = False
    for start in starts:
        for page in range((start & ~4095) - (8 << 20), start + (8 << 20), 4096):
            if libc.pwrite(fd, ctypes.c_void_p(page), ctypes.c_size_t(4096), ctypes.c_long(0)) == 4096:
                pages += 1
                found = found or holds(os.pread(fd, 4096, 0))
    return found
large = bytes(1000)
found = scan(id(object()), id(large))
kept = [decoy() for _ in range(100)]
assert pages > 100 and scan(id(kept[50]))
def f(x): return x * x if found else 0
""",
        {"failed test"},
    ),
    "equals everything": (
        "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",
        {"forbidden value"},
    ),
    "a str that equals everything": (
        "class A(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\ndef f(x): return A('4')",
        {"forbidden value"},
    ),
    "an int that equals everything": (
        "class A(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef f(x): return A(0)",
        {"forbidden value"},
    ),
    "an int by its __class__": (
        "class A:\n    __class__ = int\n    def __eq__(self, other): return True\ndef f(x): return A()",
        {"forbidden value"},
    ),
    "in a list": (
        "class A(list):\n    def __eq__(self, other): return True\ndef f(x): return [A()]",
        {"forbidden value"},
    ),
    "nan": ("def f(x): return float('nan')", {"failed test"}),
    "another print": (
        "import builtins\nprint = builtins.print = lambda *a: None\nimport os\nos.write(1, b'passed\\n')\n"
        "def f(x): return 0",
        {"failed test"},
    ),
    "other builtins": (
        "import builtins\nbuiltins.AssertionError = Exception\n"
        "builtins.compile = builtins.exec = lambda *a, **k: None\n"
        "builtins.type = lambda *a: str\nbuiltins.isinstance = lambda *a: True\ndef f(x): return 0",
        None,
    ),
    "other modules": (
        "import json, os, sys\njson.dumps = lambda *a, **k: '[]'\nos.write = lambda fd, x: len(x)\n"
        "import beam_jobs.sandbox.tests_process as t, beam_jobs.sandbox.protocol as p\n"
        "t.judge = lambda tests: 'passed'\np._tagged = lambda *a: {'t': ['returned', 4, None]}\ndef f(x): return 4",
        None,
    ),
    "writes to every descriptor": (
        "import os, struct\nm = b'{\"t\":[\"returned\",4,null]}'\nm = struct.pack('<I', len(m)) + m\n"
        "for fd in range(3, 256):\n    for text in (b'passed', b'{\"reason\": \"\"}', m):\n"
        "        try: os.write(fd, text)\n        except OSError: pass\ndef f(x): return 4",
        {"protocol", "failed test"},
    ),
    "answers before it is asked": (
        "import os, struct\n"
        'for m in (b\'{"t":["defined",{"d":[["f",{"t":["function"]}]]}]}\', b\'{"t":["returned",4,null]}\'):\n'
        "    os.write(3, struct.pack('<I', len(m)) + m)\nimport time\ntime.sleep(60)",
        {"failed test", "timeout"},
    ),
    "answers with an exit": (
        "import os, struct\n"
        'for m in (b\'{"t":["defined",{"d":[["f",{"t":["function"]}]]}]}\',\n'
        '          b\'{"t":["raised","SystemExit",{"t":[0]},null]}\'):\n'
        "    os.write(3, struct.pack('<I', len(m)) + m)\nimport time\ntime.sleep(60)",
        {"error: Exception", "timeout"},
    ),
    "says that it passed": ("raise Exception('passed')", {"error: Exception"}),
    "odd answers": (
        "import os, struct\nos.write(3, struct.pack('<I', 1 << 31))\nimport time\ntime.sleep(60)",
        {"protocol"},
    ),
    "changes what the test compares with": (
        "def f(x): return AssertionError\n__builtins__ = {}",
        None,
    ),
}

# tried on `HELPED`: each has names of its own in the place of what the tests judge by
HELPERS = {
    "another helper": "def off(x, y): return 0\ndef f(x): return 0",
    "another helper, by globals": "globals()['off'] = lambda *a: 0\ndef f(x): return 0",
    "another helper, once it is called": "def f(x):\n    global off\n    off = lambda *a: 0\n    return 0",
    "a helper that answers with text": "def off(x, y): return ''\ndef f(x): return 0",
    "another limit": "LIMIT = float('inf')\ndef f(x): return 0",
    "another module": "class math:\n    fabs = staticmethod(lambda x: 0)\ndef f(x): return 0",
    "another function in the module": "import math\nmath.fabs = lambda x: 0\ndef f(x): return 0",
    "a module of the helper's name": "import sys, types\noff = types.ModuleType('off')\ndef f(x): return 0",
    "another abs": "def abs(x): return 0\ndef f(x): return 0",
}

SCRIPTS = {
    "prints the tests": ("import sys\nfor k, v in vars(sys.modules['__main__']).items(): print(v)", None),
    "writes to its input": ("import os\nos.write(0, b'25')\nos.lseek(0, 0, 0)\nprint('x')", {"wrong output"}),
    "reads what it wrote": ("import os\nos.write(1, b'x')\nos.lseek(1, 0, 0)\nprint('x', os.read(1, 9))", None),
    "1 GB": ("for _ in range(1000): print('x' * 1_000_000)", {"output"}),
    "a large hole": ("import os\nos.lseek(1, 1 << 40, 0)\nos.write(1, b'x')", {"error: OSError", "output"}),
    "closed output": ("import os\nos.close(1)\nprint('25')", {"exited", "error: OSError"}),
    "exits at once": ("import os\nos._exit(0)", {"wrong output"}),
    "fork bomb": ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", {"timeout"}),
    "forges its end": (
        'import os, struct\nm = b\'{"t":["raised",""]}\'\nos.write(3, struct.pack(\'<I\', len(m)) + m)\nos._exit(7)',
        {"error: Exception"},
    ),
}
