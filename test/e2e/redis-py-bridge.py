"""Runs commands through redis-py for clients.test.ts: reads one JSON list of arguments a line, answers one JSON object a line.

Replies are as redis-py has them without its callbacks, so that they can be compared with those of other clients.
"""

import json
import logging
import sys

import redis


def plain(reply):
    if isinstance(reply, bytes):
        return reply.decode("latin1")
    if isinstance(reply, redis.exceptions.ResponseError):
        return "error: " + str(reply)
    if isinstance(reply, (list, tuple)):
        return [plain(item) for item in reply]
    if isinstance(reply, dict):
        return [plain(part) for pair in reply.items() for part in pair]
    return reply


def main():
    # One connection: what a command sets on it must hold for the next one.
    client = redis.Redis(port=int(sys.argv[1]), single_connection_client=True, encoding="latin1")
    client.response_callbacks.clear()
    for line in sys.stdin:
        try:
            answer = {"reply": plain(client.execute_command(*json.loads(line)))}
        except redis.exceptions.ResponseError as error:
            # redis-py cuts a leading "ERR " off, but leaves other words there.
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def cluster():
    """The same through RedisCluster, which goes by slots and asks for them again when a node fails."""
    # It logs each attempt to reach a member that is gone.
    logging.disable(logging.CRITICAL)
    client = redis.RedisCluster(host="127.0.0.1", port=int(sys.argv[1]), encoding="latin1", decode_responses=True)
    for line in sys.stdin:
        try:
            answer = {"reply": plain(client.execute_command(*json.loads(line)))}
        except (redis.exceptions.RedisError, OSError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def natives():
    """What redis-py makes of the replies itself: ends with an assertion error when one is not as with Redis."""
    client = redis.Redis(port=int(sys.argv[1]), decode_responses=True, client_name="py", health_check_interval=1, db=3)
    assert client.set("py", "1", ex=100) is True
    assert client.incr("py") == 2
    assert 0 < client.ttl("py") <= 100
    assert client.mget("py", "absent") == ["2", None]
    assert client.info("server")["redis_version"] == "7.2.4"
    assert client.info()["db3"]["keys"] == 1
    assert client.config_get("maxclients") == {"maxclients": "10000"}
    assert [entry["name"] for entry in client.client_list() if entry["name"] == "py"] == ["py"]
    assert set(client.scan_iter("p*", count=3)) == {"py"}
    assert client.command()["get"]["arity"] == 2
    assert client.pipeline(transaction=True).set("x", "1").incr("x").get("x").execute() == [True, 2, "2"]

    def increment(pipe):
        pipe.multi()
        pipe.incr("x")

    assert client.transaction(increment, "x") == [3]
    with client.pipeline(transaction=False) as pipe:
        pipe.set("y", "z").get("y").delete("y").get("y")
        assert pipe.execute() == [True, "z", 1, None]
    try:
        client.execute_command("CONFIG", "SET", "maxclients", "none")
    except redis.exceptions.ResponseError:
        pass
    else:
        raise AssertionError("a wrong value was let pass")
    client.close()
    print("natives pass")


if __name__ == "__main__":
    {"natives": natives, "cluster": cluster, "one": main}[sys.argv[2] if len(sys.argv) > 2 else "one"]()
