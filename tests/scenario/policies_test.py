"""The other ways to balance: random, weighted, by client address."""

import http.client

import pytest

from harness import clients


def test_random(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; balance random; }}""")
    cluster.wait_up(2)
    answers = clients.who_answers(8000, 400)
    # 200 each, standard deviation 10.
    assert all(abs(count - 200) <= 60 for count in answers.values()) and len(answers) == 2, answers


def test_weighted(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance;
            instances 3; balance weighted; weight 5 3 2;
        }}""")
    cluster.wait_up(3)
    assert clients.who_answers(8000, 100) == {"1": 50, "2": 30, "3": 20}


@pytest.mark.parametrize("account", ["nobody"], indirect=True)
def test_weighted_without_privileges(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance;
            instances 3; balance weighted; weight 5 3 2;
        }}""")
    cluster.wait_up(3)
    answers = clients.who_answers(8000, 500)
    # 250, 150 and 100 in the mean, with standard deviations of about 11, 10 and 9.
    for number, mean in (("1", 250), ("2", 150), ("3", 100)):
        assert abs(answers[number] - mean) <= 65, answers


@pytest.mark.both_accounts
def test_hash_of_the_client_address(cluster, programs, account):
    if not account.root:
        pytest.skip("classic BPF sees no addresses in its choice of a TCP listener")
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance;
            instances 4; balance hash client;
        }}""")
    cluster.wait_up(4)
    met = {}
    for client in range(2, 42):
        source = f"127.0.1.{client}"
        answers = {ask_from(source) for _ in range(3)}
        assert len(answers) == 1, f"{source} met {answers}"
        met[source] = answers.pop()
    assert set(met.values()) == {"1", "2", "3", "4"}


def ask_from(source):
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=5, source_address=(source, 0))
    connection.request("GET", "/whoami", headers={"Connection": "close"})
    answer = connection.getresponse().read().decode().split()[0]
    connection.close()
    return answer
