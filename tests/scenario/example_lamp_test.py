"""examples/lamp: a browser installs WordPress on it and writes there; parts of it are restarted while people read."""

import http.client
import os
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from harness import cgroups
from harness.cluster import Account, Cluster
from harness.fixtures import clear_processes
from harness.network import Network
from harness.processes import children, command_line, read, wait_for

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "lamp"
NEEDED = ["mariadbd", "php-fpm8.2", "chromium", "chromedriver"]
missing = [name for name in NEEDED if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]
pytestmark = [pytest.mark.skipif(bool(missing), reason=f"{missing} are not installed"),
              pytest.mark.xdist_group("lamp")]
SITE, SECURE = "http://localhost:8080", "https://localhost:8443"
ANYBODY = ssl._create_unverified_context()  # the example's certificate is its own
PASSWORD = "a-long-enough-passphrase-41"
UPLOAD_BYTES = 50 << 20


class Browser:
    """Chromium, headless, in the scenario's namespace."""

    def __init__(self, folder):
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                         "--ignore-certificate-errors", "--window-size=1280,1000", f"--user-data-dir={folder}",
                         "--disable-background-networking", "--no-first-run"):
            options.add_argument(argument)
        options.binary_location = shutil.which("chromium")
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.set_page_load_timeout(60)

    def open(self, path, site=SITE):
        self.driver.get(site + path)

    def find(self, selector, within=20):
        """The element, when it is there and can be seen."""
        def visible(driver):
            found = [element for element in driver.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]
            return found and found[0]
        return WebDriverWait(self.driver, within).until(visible, f"{selector} at {self.driver.current_url}")

    def fill(self, selector, text):
        element = self.find(selector)
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(text)

    def click(self, selector):
        self.find(selector).click()

    def wait(self, condition, within=20, what="a condition"):
        return WebDriverWait(self.driver, within).until(lambda _: condition(), what)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def sign_in(self, site=SITE):
        self.open("/wp-login.php", site)
        self.fill("#user_login", "admin")
        self.fill("#user_pass", PASSWORD)
        self.click("#wp-submit")
        self.find("#wpadminbar")

    def close(self):
        self.driver.quit()


class Readers:
    """People who read pages, over and over; on connections of their own or on kept ones. What was not a whole page
    is counted: `errors`."""

    def __init__(self, paths, text, people=6):
        self.paths, self.text = paths, text
        self.pages, self.errors, self.slowest = 0, [], 0.0
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.read, args=[number % 2 == 0]) for number in range(people)]

    def read(self, keeps):
        connection, number = None, 0
        while not self.ending.is_set():
            begun, number = time.monotonic(), number + 1
            try:
                connection = connection or http.client.HTTPConnection("localhost", 8080, timeout=40)
                path = self.paths[number % len(self.paths)]
                connection.request("GET", path, headers={} if keeps else {"Connection": "close"})
                answer = connection.getresponse()
                body = answer.read()
                wrong = None if answer.status == 200 and self.text in body else f"{path}: {answer.status} {body[:300]}"
            except (OSError, http.client.HTTPException) as error:
                wrong, keeps_now = f"{path}: {error!r}", False
            else:
                keeps_now = keeps
            if not keeps_now:
                connection.close()
                connection = None
            with self.lock:
                self.pages += wrong is None
                self.errors += [wrong] if wrong else []
                self.slowest = max(self.slowest, time.monotonic() - begun)

    def wait_more(self, count, within=20):
        goal = self.pages + count
        wait_for(lambda: self.pages >= goal or self.errors, within, f"{count} more pages")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join(45)


def prepare(cluster):
    """The example's folder, and the environment that examples/lamp/start would give to enginx."""
    state = cluster.directory / "lamp"
    cluster.environment.update(LAMP_STATE=str(state), LAMP_USER="www-data")
    subprocess.run([EXAMPLE / "prepare", state, "www-data"], check=True, capture_output=True, timeout=60,
                   env=cluster.environment)
    return state


def install(browser):
    browser.open("/")
    assert browser.driver.current_url == SITE + "/wp-admin/install.php"
    browser.fill("#weblog_title", "Lamp")
    browser.fill("#user_login", "admin")
    browser.wait(lambda: browser.find("#pass1").get_attribute("value"), what="a password to be proposed")
    browser.fill("#pass1", PASSWORD)
    browser.fill("#admin_email", "admin@example.org")
    browser.click("#submit")
    browser.find("a.button[href$='wp-login.php']", 30)


@pytest.fixture(scope="module")
def stack(place, binary):
    """The example, up; a browser has installed WordPress and is signed in."""
    network = Network()
    folder = Path(tempfile.mkdtemp(prefix="lamp-", dir=place))
    folder.chmod(0o755)
    with network.inside():
        cluster = Cluster(binary, folder, Account("root"), network)
        browser = None
        try:
            cluster.lamp = prepare(cluster)
            cluster.start("up", EXAMPLE / "enginx.conf")
            cluster.wait_up(2, "php", within=30)
            cluster.browser = browser = Browser(folder / "browser")
            install(browser)
            browser.sign_in()
            yield cluster
        finally:
            print(f"---- output of enginx:\n{cluster.output[-6000:]}")
            if browser:
                browser.close()
            cluster.end()
            left = clear_processes(network)
    network.close()
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, left


def publish(browser, title, text):
    """A post, written in the editor; its address."""
    browser.open("/wp-admin/post-new.php")
    browser.wait(lambda: browser.run("return window.wp && wp.data && wp.data.select('core/editor')"
                                     " && !!wp.data.select('core/editor').getCurrentPostId()"), what="the editor")
    browser.find(".edit-post-welcome-guide button[aria-label='Close dialog']").click()
    browser.find(".editor-post-title__input").send_keys(title + Keys.ENTER + text)
    browser.click(".editor-post-publish-button__button")
    browser.click(".editor-post-publish-panel .editor-post-publish-button")
    return browser.find(".post-publish-panel__postpublish a", 30).get_attribute("href")


def upload(browser, file, site=SITE):
    """By the page for that; the file's address."""
    browser.open("/wp-admin/media-new.php", site)
    browser.driver.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(file))
    return browser.find("#media-items .copy-attachment-url", 40).get_attribute("data-clipboard-text")


def quota(cluster):
    """Of the whole cluster, in bytes; the most that it has used; how often the kernel killed for want of memory."""
    def number(path, name):
        return next((int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name)), 0)
    for group in cgroups.all_below(cluster.cgroup):
        if group.name != cluster.name:
            continue
        if (group / "memory.limit_in_bytes").exists():
            return (int((group / "memory.limit_in_bytes").read_text()), int((group / "memory.max_usage_in_bytes").read_text()),
                    number(group / "memory.oom_control", "oom_kill "))
        if (group / "memory.max").exists():
            peak = group / "memory.peak"
            return (int((group / "memory.max").read_text()), int(peak.read_text()) if peak.exists() else 0,
                    number(group / "memory.events", "oom_kill "))
    raise AssertionError("the cluster has no group for memory")


def gateway_peak(cluster):
    """The most memory that a process of the gateway has had, in bytes."""
    pids = [pid for pid in cluster.enginx_processes() if "--role gateway" in command_line(pid)]
    return max(int(line.split()[1]) << 10 for pid in pids for line in read(pid, "status").splitlines()
               if line.startswith(b"VmHWM"))


@pytest.mark.parametrize("site", [SITE, SECURE])
def test_a_browser_uploads(stack, site):
    browser = stack.browser
    if site != SITE:
        browser.sign_in(site)
        assert browser.driver.current_url == site + "/wp-admin/"  # it knows that it is spoken to by TLS
        assert browser.run("return performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    file = stack.directory / f"{site[:5].strip(':')}.mp4"
    content = os.urandom(UPLOAD_BYTES)
    file.write_bytes(content)
    address = upload(browser, file, site)
    assert address.startswith(site + "/wp-content/uploads/") and address.endswith("/" + file.name)
    with urllib.request.urlopen(address, context=ANYBODY) as answer:
        assert answer.read() == content
    assert gateway_peak(stack) < UPLOAD_BYTES // 2  # it does not collect what passes


def test_a_browser_writes(stack):
    browser = stack.browser
    address = publish(browser, "A large matter", "Words of a post.")
    assert re.fullmatch(SITE + r"/\d{4}/\d\d/\d\d/a-large-matter/", address), address
    browser.open(address.removeprefix(SITE))
    assert browser.find("h1").text == "A large matter"
    assert "Words of a post." in browser.find(".entry-content").text
    browser.open("/")
    assert "A large matter" in browser.find("main").text
    assert ask("/no/such/page/", 404)
    assert int(redis_cli(stack, "dbsize")) > 0  # the object cache is in use


def pages_of(stack):
    """Paths with pretty permalinks that WordPress itself made."""
    return ["/", "/sample-page/", *re.findall(r'href="http://localhost:8080(/\d{4}/[^"#]*)"', ask("/"))[:1]]


def ask(path, status=200):
    try:
        with urllib.request.urlopen(SITE + path) as answer:
            assert answer.status == status
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        assert error.code == status
        return error.read().decode()


def redis_cli(stack, *arguments):
    return subprocess.run(["redis-cli", "-h", stack.instances("cache")[1]["address"], *arguments], check=True,
                          capture_output=True, text=True, timeout=5).stdout


@pytest.mark.parametrize("command, service", [("roll", "php"), ("restart", "php"), ("restart", "db"), ("restart", "cache")])
def test_readers_notice_nothing(stack, command, service):
    before = {instance["pid"] for instance in stack.instances(service).values()}
    with Readers(pages_of(stack), b"Lamp") as readers:
        readers.wait_more(20)
        stack.command(command, service, timeout=60)
        after = stack.wait_up(len(before), service, within=40)
        assert not before & {instance["pid"] for instance in after.values()}
        readers.wait_more(20)
    assert readers.errors == []


def test_readers_get_no_error_of_a_killed_child(stack):
    """What it had not begun to answer another does; what it had breaks off, visibly."""
    killed = (1, 2, 1, 2)
    with Readers(pages_of(stack), b"Lamp") as readers:
        for number in killed:
            before = readers.pages
            os.kill(children(stack.pid(number, "php"))[0], signal.SIGKILL)
            wait_for(lambda: readers.pages > before + 10, 20, "more pages")
    assert len(readers.errors) <= len(killed) and all("IncompleteRead" in error for error in readers.errors)


def test_all_of_it_fits_into_its_quota(stack):
    """Whatever else was done here before."""
    with Readers(pages_of(stack), b"Lamp", people=16) as readers:
        readers.wait_more(50)
    assert readers.errors == []
    limit, peak, kills = quota(stack)
    assert limit == 1 << 30 and 0 < peak < limit and kills == 0
