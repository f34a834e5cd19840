/* Listens on port 8085, then forks four workers that all accept from the one listener. With the
 * argument "daemon" it first goes to the background as old daemons do: fork, setsid, fork, and the
 * process that was started ends at once. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void serve(int listener)
{
    const char *who = getenv("WHO");
    for (;;) {
        int client = accept(listener, NULL, NULL);
        char in[2048], body[64], out[256];
        if (client < 0)
            continue;
        if (read(client, in, sizeof in) > 0) {
            int length = snprintf(body, sizeof body, "%s %d\n", who ? who : "-", getpid());
            int all = snprintf(out, sizeof out,
                               "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
                               length, body);
            if (write(client, out, (size_t)all) != all)
                perror("write");
        }
        close(client);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8085)};
    int on = 1;

    if (argc > 1 && strcmp(argv[1], "daemon") == 0) {
        if (fork() != 0)
            return 0;
        setsid();
        if (fork() != 0)
            return 0;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 128) != 0) {
        perror("port 8085");
        return 1;
    }
    for (int worker = 0; worker < 4; worker++)
        if (fork() == 0)
            serve(listener);
    while (wait(NULL) > 0)
        ;
    return 0;
}
