#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/ask.h"

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

static void list_print(const char *title, const json_t *list)
{
    size_t index;
    json_t *item;
    if (!json_array_size(list))
        return;
    printf("  %s", title);
    json_array_foreach (list, index, item)
        printf(" %s", json_string_value(item));
}

static const char *state_colour(const char *state)
{
    if (strcmp(state, "up") == 0)
        return "\033[32m";
    if (strcmp(state, "failed") == 0)
        return "\033[31m";
    return "\033[33m";
}

static void bytes_print(json_int_t bytes)
{
    char text[32];
    if (bytes >= 1 << 20)
        snprintf(text, sizeof text, "%.1f MiB", (double)bytes / (1 << 20));
    else
        snprintf(text, sizeof text, "%.0f KiB", (double)bytes / 1024);
    printf(" %10s", text);
}

static void count_print(const json_t *value, int width)
{
    if (json_is_integer(value))
        printf(" %*lld", width, (long long)json_integer_value(value));
    else
        printf(" %*s", width, "-");
}

static void instance_print(const json_t *instance, const char *service, bool colour)
{
    char name[200];
    const char *state = text_of(instance, "state");
    snprintf(name, sizeof name, "%.150s.%lld", service,
             (long long)json_integer_value(json_object_get(instance, "id")));
    printf("  %-16s %s%-8s%s %-15s", name, colour ? state_colour(state) : "", state,
           colour ? "\033[0m" : "", text_of(instance, "address"));
    count_print(json_object_get(instance, "pid"), 8);
    count_print(json_object_get(instance, "restarts"), 8);
    count_print(json_object_get(instance, "connections"), 6);
    count_print(json_object_get(instance, "connections_total"), 9);
    printf(" %5.1f%%", json_real_value(json_object_get(instance, "cpu_percent")));
    bytes_print(json_integer_value(json_object_get(instance, "memory_bytes")));
    printf("  %s", text_of(instance, "since"));
    if (json_is_string(json_object_get(instance, "role")))
        printf("  %s", text_of(instance, "role"));
    const json_t *exit = json_object_get(instance, "exit");
    if (json_is_string(exit))
        printf("  last %s", json_string_value(exit));
    printf("\n");
    if (json_is_string(json_object_get(instance, "reason")))
        printf("  %-16s %s\n", "", text_of(instance, "reason"));
}

/* What went through the gateway, if anything did. */
static void traffic_print(const json_t *service)
{
    const json_t *latency = json_object_get(service, "latency_ms");
    if (json_integer_value(json_object_get(service, "requests_total")) == 0)
        return;
    printf("  %.1f requests/s", json_real_value(json_object_get(service, "requests_per_second")));
    if (json_is_object(latency))
        printf("  p50 %.1f p95 %.1f p99 %.1f ms", json_real_value(json_object_get(latency, "p50")),
               json_real_value(json_object_get(latency, "p95")),
               json_real_value(json_object_get(latency, "p99")));
}

static void rollout_print(const json_t *rollout)
{
    const char *state = text_of(rollout, "state");
    if (!json_is_object(rollout) || strcmp(state, "done") == 0)
        return;
    printf("  roll: %s since %s, %lld of %lld replaced", state, text_of(rollout, "since"),
           (long long)json_integer_value(json_object_get(rollout, "replaced")),
           (long long)json_integer_value(json_object_get(rollout, "of")));
    if (json_is_string(json_object_get(rollout, "step")))
        printf(", %s", text_of(rollout, "step"));
    if (json_is_string(json_object_get(rollout, "why")))
        printf(": %s", text_of(rollout, "why"));
    printf("\n");
}

static void service_print(const json_t *service, bool colour)
{
    size_t index;
    json_t *instance;
    const char *name = text_of(service, "name");
    const json_t *instances = json_object_get(service, "instances");
    printf("\n%s%s%s  %s", colour ? "\033[1m" : "", name, colour ? "\033[0m" : "",
           text_of(service, "path"));
    list_print("listens", json_object_get(service, "listeners"));
    list_print("ports", json_object_get(service, "ports"));
    printf("  home %s", text_of(service, "home"));
    traffic_print(service);
    printf("\n");
    rollout_print(json_object_get(service, "rollout"));
    printf("  %-16s %-8s %-15s %8s %8s %6s %9s %6s %10s  %s\n", "INSTANCE", "STATE", "ADDRESS",
           "PID", "RESTARTS", "CONNS", "IN ALL", "CPU", "MEMORY", "SINCE");
    json_array_foreach (instances, index, instance)
        instance_print(instance, name, colour);
}

/* When it runs next, and what became of the last run. */
static void job_print(const json_t *job)
{
    const json_t *last = json_array_get(json_object_get(job, "history"), 0);
    printf("\n%s  job", text_of(job, "name"));
    if (json_is_true(json_object_get(job, "running")))
        printf("  runs since %s", text_of(job, "since"));
    printf("  next run %s", text_of(job, "next"));
    if (last)
        printf("  last %s (%s)", text_of(last, "begin"), text_of(last, "exit"));
    printf("\n");
}

int command_status(const struct cli *cli)
{
    bool json = false;
    struct cli own = *cli;
    const struct cli_option options[] = {{"--json", NULL, NULL, &json}};
    if (cli_options(&own, options, 1, false) != 1)
        return cli_usage("status");
    json_t *answer = ask(&own, json_pack("{s:s}", "command", "status"));
    json_t *status = json_object_get(answer, "status");
    if (!status) {
        json_decref(answer);
        return CLI_FAILED;
    }
    if (json) {
        json_dumpf(status, stdout, JSON_INDENT(1));
        printf("\n");
    } else {
        size_t index;
        json_t *service;
        printf("cluster %s, version %s, since %s, process %lld\n", text_of(status, "cluster"),
               text_of(status, "version"), text_of(status, "since"),
               (long long)json_integer_value(json_object_get(status, "pid")));
        json_array_foreach (json_object_get(status, "services"), index, service)
            service_print(service, isatty(STDOUT_FILENO));
        json_array_foreach (json_object_get(status, "jobs"), index, service)
            job_print(service);
    }
    json_decref(answer);
    return CLI_OK;
}
