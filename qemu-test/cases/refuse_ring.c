/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/socket.h>

CASE(.what = "the mapped ring of a packet socket is refused, also when the socket is closed",
     .refused = "the ring of a file that crust cannot restore");

static void run(void)
{
	struct tpacket_req ring = { .tp_block_size = 4096, .tp_block_nr = 1, .tp_frame_size = 2048, .tp_frame_nr = 2 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	volatile unsigned long *at;

	must(fd >= 0 && !setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)));
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(at != MAP_FAILED);
	close(fd);

	ready();
	check(*at == TP_STATUS_KERNEL, "status %lx", *at);
}
