"""A Ray cluster of a head without processors and two machines with one each, all of them processes on this one.

It is a program, since it needs Ray: it writes a line of JSON once it runs, ``address`` and ``raylets``, the process of
each machine, and ends, and the cluster with it, when its standard input does. A line ``N`` there takes machine N away
as a failure of its power would.
"""

from __future__ import annotations

import json
import sys

from ray.cluster_utils import Cluster

MEMORY = 80 * 2**20


def main() -> None:
    """Run the cluster."""
    head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.1", "object_store_memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    # Addresses of their own: a program here belongs to the head's machine, which is not lost.
    addresses = ("127.0.0.2", "127.0.0.3")
    machines = [
        cluster.add_node(num_cpus=1, node_ip_address=address, object_store_memory=MEMORY) for address in addresses
    ]
    raylets = [machine.all_processes["raylet"][0].process.pid for machine in machines]
    sys.stdout.write(json.dumps({"address": cluster.address, "raylets": raylets}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        cluster.remove_node(machines[int(line)], allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
