#include <string.h>

#include "topology/builder.h"

/* Options of the table, by their place in its row. */
enum {
    SCALE_CPU,
    SCALE_MEMORY,
    SCALE_CONNECTIONS,
    SCALE_LATENCY,
    SCALE_QUEUE,
    SCALE_IDLE,
    SCALE_COOL_DOWN,
    SCALE_OPTIONS,
};

enum { CPU_PERCENT_DEFAULT = 70 }; /* followed by a range from 0 that names no mark */

/* "p95<200ms" */
static void latency_apply(struct builder *builder, struct service_scale *scale,
                          const struct value *value)
{
    static const struct {
        const char *name;
        uint32_t part;
    } quantiles[] = {{"p50<", 50}, {"p95<", 95}, {"p99<", 99}};
    static const struct value_spec duration = {
        .name = "latency", .type = VALUE_DURATION, .low = 1, .high = 3600000};
    struct value parsed;
    struct value_problem problem;
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        size_t length = strlen(quantiles[i].name);
        if (strncmp(value->text, quantiles[i].name, length) != 0 ||
            !value_parse(&duration, value->text + length, &parsed, &problem))
            continue;
        scale->latency_part = quantiles[i].part;
        scale->latency_us = (uint32_t)parsed.number * 1000;
        return;
    }
    value_refuse(builder, value, "p50, p95 or p99, and a duration: latency=p95<200ms",
                 "`%s` is no mark for latency", value->text);
}

static bool any_stated(const struct statement *statement, int from, int to)
{
    bool any = false;
    for (int i = from; i <= to; i++)
        any |= statement->options[i].word != NULL;
    return any;
}

static void marks_apply(struct builder *builder, struct service_scale *scale,
                        const struct statement *statement)
{
    scale->cpu_percent = option_number(statement, SCALE_CPU);
    scale->memory_percent = option_number(statement, SCALE_MEMORY);
    scale->connections = option_number(statement, SCALE_CONNECTIONS);
    scale->queue = option_number(statement, SCALE_QUEUE);
    scale->idle_ms = option_number(statement, SCALE_IDLE);
    scale->cool_down_ms = option_number(statement, SCALE_COOL_DOWN);
    if (!any_stated(statement, SCALE_CPU, SCALE_QUEUE) && scale->high > 1)
        scale->cpu_percent = CPU_PERCENT_DEFAULT;
    if (statement->options[SCALE_LATENCY].given)
        latency_apply(builder, scale, &statement->options[SCALE_LATENCY]);
}

/* A fixed number follows nothing; a range must follow something, and one from 0 at least sleeps. */
static bool marks_check(struct builder *builder, const struct statement *statement)
{
    const struct value *value = &statement->arguments[0];
    bool marks = any_stated(statement, SCALE_CPU, SCALE_QUEUE);
    bool sleeps = value->range.low == 0, idle = statement->options[SCALE_IDLE].word != NULL;
    if (value->range.low == value->range.high) {
        if (marks || idle || statement->options[SCALE_COOL_DOWN].word)
            value_refuse(builder, value, "instances 1..8 cpu=70%;",
                         "a number alone is fixed: its options need a range");
        return false;
    }
    if (sleeps && !idle)
        value_refuse(builder, value, "instances 0..4 cpu=70% idle=5m;",
                     "a range from 0 needs `idle=`: when it falls asleep");
    else if (!sleeps && idle)
        value_refuse(builder, &statement->options[SCALE_IDLE], "instances 0..4 idle=5m;",
                     "only a range from 0 falls asleep");
    else if (!marks && !sleeps)
        value_refuse(builder, value, "cpu=, memory=, connections=, latency= or queue=",
                     "a range needs a mark: what its number follows");
    else
        return true;
    return false;
}

void instances_apply(struct builder *builder, struct service *service,
                     const struct statement *statement)
{
    const struct value *value = &statement->arguments[0];
    service->instances = value->range.low ? (uint32_t)value->range.low : 1;
    service->scale = (struct service_scale){0};
    if (!marks_check(builder, statement))
        return;
    service->scale.low = (uint32_t)value->range.low;
    service->scale.high = (uint32_t)value->range.high;
    marks_apply(builder, &service->scale, statement);
}

/* What can only be said when all of the block is known. */
void scale_check(struct builder *builder, const struct service *service)
{
    const struct statement *at = builder_first(builder, DIRECTIVE_INSTANCES);
    if (!at || !at->valid || !service->scale.high)
        return;
    struct place place = statement_place(at);
    if (service->scale.memory_percent && !service->quota.memory_bytes)
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place, "quota memory=256m;",
                        "`memory=` is a part of each instance's quota, and `%s` has none",
                        service->name);
    if (!service->scale.low && !service->listens)
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                        "a program that listens nowhere is woken by nobody: it cannot sleep");
    else if (!service->scale.low && service_stated_port(service, PROTOCOL_UDP))
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place,
                        "a range from 1: instances 1..4 cpu=70%;",
                        "a datagram wakes nobody: a service with a UDP port cannot sleep");
}
