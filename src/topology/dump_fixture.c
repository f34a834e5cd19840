#include "topology/dump_fixture.h"

#include <string.h>

static void text_dump(FILE *out, const char *name, const char *text)
{
    fprintf(out, " %s=%s%s%s", name, text ? "\"" : "", text ? text : "none", text ? "\"" : "");
}

static void texts_dump(FILE *out, const char *name, const char *const *texts)
{
    if (!texts)
        text_dump(out, name, NULL);
    for (; texts && *texts; texts++)
        text_dump(out, name, *texts);
}

static void bytes_dump(FILE *out, const char *name, const void *bytes, size_t length)
{
    fprintf(out, " %s=", name);
    for (size_t i = 0; i < length; i++)
        fprintf(out, "%02x", ((const unsigned char *)bytes)[i]);
}

#define NUMBER(of, field) fprintf(out, " " #field "=%llu", (unsigned long long)(of)->field)
#define TEXT(of, field)   text_dump(out, #field, (of)->field)

static void quota_dump(const struct quota *quota, FILE *out)
{
    NUMBER(quota, memory_bytes);
    NUMBER(quota, memory_soft_bytes);
    NUMBER(quota, io_weight);
    NUMBER(quota, cpu_percent);
    NUMBER(quota, tasks);
}

static void gateway_dump(const struct service_gateway *gateway, FILE *out)
{
    for (size_t i = 0; i < gateway->remote_count; i++) {
        const struct remote *remote = &gateway->remotes[i];
        TEXT(remote, host);
        NUMBER(remote, port);
        TEXT(remote, path);
        NUMBER(remote, weight);
        TEXT(remote, text);
    }
    const struct service_tls *tls = &gateway->tls;
    NUMBER(tls, on);
    NUMBER(tls, verify);
    TEXT(tls, name);
    TEXT(tls, ca_file);
    TEXT(tls, certificate_file);
    TEXT(tls, key_file);
    NUMBER(gateway, speaks);
    NUMBER(gateway, proxy_protocol);
    NUMBER(gateway, hash_key);
    NUMBER(gateway, hash_bound_percent);
    TEXT(gateway, hash_name);
    TEXT(gateway, cookie_name);
    NUMBER(gateway, slow_start_ms);
    NUMBER(gateway, connections_max);
    NUMBER(gateway, requests_max);
    NUMBER(gateway, idle_max);
    NUMBER(gateway, connect_ms);
    NUMBER(gateway, send_ms);
    NUMBER(gateway, response_ms);
    NUMBER(gateway, read_ms);
    NUMBER(gateway, idle_ms);
    NUMBER(gateway, tunnel_ms);
    NUMBER(gateway, retry_tries);
    NUMBER(gateway, retry_budget_percent);
    NUMBER(gateway, retry_methods);
    NUMBER(gateway, hold_max);
    NUMBER(gateway, hold_ms);
    NUMBER(gateway, eject_failures);
    NUMBER(gateway, eject_ms);
    NUMBER(&gateway->breaker, failures);
    NUMBER(&gateway->breaker, errors_percent);
    NUMBER(&gateway->breaker, within_ms);
    NUMBER(&gateway->breaker, open_ms);
    NUMBER(&gateway->breaker, probes);
    NUMBER(&gateway->breaker, status_low);
    NUMBER(&gateway->breaker, status_high);
    TEXT(gateway, check_path);
    TEXT(gateway, check_host);
    NUMBER(gateway, check_status_low);
    NUMBER(gateway, check_status_high);
    TEXT(gateway, check_match);
    TEXT(gateway, check_send);
    TEXT(gateway, check_expect);
}

static void program_dump(const struct service *service, FILE *out)
{
    NUMBER(service, definition);
    texts_dump(out, "argv", (const char *const *)service->argv);
    NUMBER(service, shell);
    TEXT(service, directory);
    TEXT(service, user);
    TEXT(service, group);
    texts_dump(out, "env", (const char *const *)service->env);
    NUMBER(service, env_clear);
    NUMBER(service, umask);
    for (size_t i = 0; i < service->limit_count; i++) {
        NUMBER(&service->limits[i], resource);
        NUMBER(&service->limits[i], value);
    }
    quota_dump(&service->quota, out);
}

static void job_dump(const struct service_job *job, FILE *out)
{
    NUMBER(job, every_ms);
    NUMBER(job, daily);
    NUMBER(job, at_second);
    NUMBER(job, overlap);
    NUMBER(job, timeout_ms);
    NUMBER(job, history);
}

static void steps_dump(const struct service_step *steps, size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        texts_dump(out, "step", (const char *const *)steps[i].argv);
        NUMBER(&steps[i], once);
        NUMBER(&steps[i], timeout_ms);
    }
}

static void life_dump(const struct service *service, FILE *out)
{
    NUMBER(service, check);
    texts_dump(out, "check_argv", (const char *const *)service->check_argv);
    NUMBER(service, check_every_ms);
    NUMBER(service, check_timeout_ms);
    NUMBER(service, check_rise);
    NUMBER(service, check_fall);
    NUMBER(&service->role, check);
    texts_dump(out, "role_argv", (const char *const *)service->role.argv);
    NUMBER(&service->role, every_ms);
    NUMBER(&service->role, timeout_ms);
    NUMBER(&service->role, fall);
    TEXT(&service->role, user);
    TEXT(&service->role, database);
    steps_dump(service->before_start, service->before_start_count, out);
    steps_dump(service->after_stop, service->after_stop_count, out);
    NUMBER(service, start_within_ms);
    NUMBER(service, restart);
    NUMBER(service, backoff_min_ms);
    NUMBER(service, backoff_max_ms);
    NUMBER(service, restart_tries);
    NUMBER(service, restart_reset_ms);
    NUMBER(service, stop_signal);
    NUMBER(service, stop_within_ms);
    NUMBER(service, stop_drain_ms);
    NUMBER(&service->roll, surge);
    NUMBER(&service->roll, unavailable);
    NUMBER(&service->roll, within_ms);
    NUMBER(&service->roll, pause_ms);
    NUMBER(&service->roll, watch_ms);
    NUMBER(&service->roll, errors_percent);
}

static void service_dump(const struct service *service, FILE *out)
{
    fprintf(out, "service");
    NUMBER(service, index);
    TEXT(service, name);
    TEXT(service, realm);
    NUMBER(service, line);
    TEXT(service, file);
    NUMBER(service, program_at.line);
    NUMBER(service, directory_at.column);
    NUMBER(service, user_at.line);
    program_dump(service, out);
    NUMBER(service, instances);
    NUMBER(service, priority);
    if (service->job)
        job_dump(service->job, out);
    NUMBER(&service->scale, low);
    NUMBER(&service->scale, high);
    NUMBER(&service->scale, cpu_percent);
    NUMBER(&service->scale, memory_percent);
    NUMBER(&service->scale, connections);
    NUMBER(&service->scale, latency_us);
    NUMBER(&service->scale, latency_part);
    NUMBER(&service->scale, queue);
    NUMBER(&service->scale, idle_ms);
    NUMBER(&service->scale, cool_down_ms);
    for (size_t i = 0; i < service->port_count; i++) {
        NUMBER(&service->ports[i], port);
        NUMBER(&service->ports[i], protocol);
        NUMBER(&service->ports[i], activation);
    }
    NUMBER(service, listens);
    NUMBER(service, publish);
    NUMBER(service, balance);
    for (size_t i = 0; i < service->weight_count; i++)
        fprintf(out, " weight=%u", service->weights[i]);
    for (size_t i = 0; i < service->uses_count; i++)
        fprintf(out, " uses=%u", service->uses[i]);
    life_dump(service, out);
    gateway_dump(&service->gateway, out);
    fputc('\n', out);
}

static void networks_dump(const char *name, const struct network *networks, size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        bytes_dump(out, name, networks[i].address, sizeof networks[i].address);
        fprintf(out, "/%u", networks[i].length);
    }
}

static void rules_dump(const struct route *route, FILE *out)
{
    for (size_t i = 0; i < route->rewrite_count; i++) {
        const struct rewrite *rewrite = &route->rewrites[i];
        TEXT(rewrite, strip);
        TEXT(rewrite, prefix);
        TEXT(rewrite, regex);
        TEXT(rewrite, replacement);
    }
    for (size_t i = 0; i < route->headers_change_count; i++) {
        const struct header_rule *rule = &route->headers_change[i];
        NUMBER(rule, response);
        NUMBER(rule, action);
        TEXT(rule, name);
        TEXT(rule, value);
    }
}

static void flood_dump(const struct flood *flood, FILE *out)
{
    if (!flood)
        return;
    NUMBER(&flood->connections, interval_ns);
    NUMBER(&flood->connections, burst);
    NUMBER(&flood->requests, interval_ns);
    NUMBER(&flood->requests, burst);
    NUMBER(flood, concurrent);
    NUMBER(flood, ban_ms);
    for (size_t i = 0; i < flood->exempt_count; i++) {
        bytes_dump(out, "address", flood->exempt[i].address, sizeof flood->exempt[i].address);
        NUMBER(&flood->exempt[i], length);
    }
}

static void access_dump(const struct access_list *access, FILE *out)
{
    for (size_t i = 0; access && i < access->count; i++) {
        bytes_dump(out, "from", access->segments[i].from, sizeof access->segments[i].from);
        NUMBER(&access->segments[i], verdict);
    }
}

static void guard_dump(const struct guard *guard, FILE *out)
{
    fprintf(out, " guard=%s", guard_names[guard->kind]);
    TEXT(guard, text);
    switch (guard->kind) {
    case GUARD_ACCESS:
        access_dump(guard->access, out);
        return;
    case GUARD_RATE:
    case GUARD_REQUESTS:
        NUMBER(guard->limit, identity);
        NUMBER(guard->limit, interval_ns);
        NUMBER(guard->limit, burst);
        NUMBER(guard->limit, requests);
        TEXT(guard->limit, key);
        NUMBER(guard->limit, status);
        return;
    case GUARD_BASIC:
        TEXT(guard->basic, realm);
        for (size_t i = 0; i < guard->basic->user_count; i++) {
            TEXT(&guard->basic->users[i], name);
            TEXT(&guard->basic->users[i], hash);
        }
        return;
    case GUARD_REQUEST:
        NUMBER(guard->request, identity);
        NUMBER(guard->request->route->targets, service);
        TEXT(guard->request, path);
        texts_dump(out, "copy", guard->request->copy);
        TEXT(guard->request, user);
        NUMBER(guard->request, redirects);
        NUMBER(guard->request, cache_ms);
        TEXT(guard->request, key);
        return;
    case GUARD_JWT:
        NUMBER(guard->jwt, number);
        NUMBER(guard->jwt, keys);
        bytes_dump(out, "text", guard->jwt->text, guard->jwt->length);
        if (guard->jwt->route)
            NUMBER(guard->jwt->route->targets, service);
        TEXT(guard->jwt, path);
        TEXT(guard->jwt, realm);
        TEXT(guard->jwt, issuer);
        TEXT(guard->jwt, audience);
        for (size_t i = 0; i < guard->jwt->claim_count; i++) {
            TEXT(&guard->jwt->claims[i], name);
            TEXT(&guard->jwt->claims[i], value);
        }
        NUMBER(guard->jwt, leeway_s);
        NUMBER(guard->jwt, endless);
        return;
    case GUARD_CORS:
        texts_dump(out, "origin", guard->cors->origins);
        NUMBER(guard->cors, any);
        NUMBER(guard->cors, credentials);
        TEXT(guard->cors, methods);
        TEXT(guard->cors, headers);
        TEXT(guard->cors, expose);
        TEXT(guard->cors, max_age);
        return;
    case GUARD_FLOOD: /* of listeners, in no list */
    case GUARD_KINDS:
        break;
    }
}

static void cache_dump(const struct route_cache *cache, FILE *out)
{
    NUMBER(cache, store);
    NUMBER(cache, ttl_ms);
    for (size_t i = 0; cache->statuses[i]; i++)
        fprintf(out, " status=%u", cache->statuses[i]);
    TEXT(cache, key);
    texts_dump(out, "bypass", cache->bypass);
    NUMBER(cache, stale_ms);
    NUMBER(cache, refresh_ms);
    NUMBER(cache, lock_ms);
    NUMBER(cache, obey);
    networks_dump("purge", cache->purgers, cache->purger_count, out);
}

static void route_dump(const struct route *route, FILE *out)
{
    fprintf(out, "    route");
    TEXT(route, name);
    NUMBER(route, path_kind);
    TEXT(route, path);
    texts_dump(out, "methods", route->methods);
    for (size_t i = 0; i < route->header_count; i++) {
        TEXT(&route->headers[i], name);
        TEXT(&route->headers[i], value);
    }
    NUMBER(route, kind);
    for (size_t i = 0; i < route->target_count; i++) {
        NUMBER(&route->targets[i], service);
        NUMBER(&route->targets[i], weight);
        NUMBER(&route->targets[i], role);
    }
    NUMBER(route, speaks);
    TEXT(route, root);
    TEXT(route, index);
    TEXT(route, split);
    TEXT(route, location);
    NUMBER(route, status);
    TEXT(route, body);
    TEXT(route, type);
    if (route->files) {
        NUMBER(route->files, directory);
        NUMBER(route->files, listing);
        TEXT(route->files, index);
        TEXT(route->files, fallback);
    }
    const struct compression *compression = route->compression;
    for (size_t i = 0; compression && i < compression->coding_count; i++)
        fprintf(out, " coding=%d", compression->codings[i]);
    if (compression) {
        texts_dump(out, "types", compression->types);
        NUMBER(compression, bytes_min);
        NUMBER(compression, level);
    }
    NUMBER(route, internal);
    if (route->follow) {
        NUMBER(route->follow, accel);
        for (size_t i = 0; i < route->follow->directory_count; i++)
            fprintf(out, " follow=%u", route->follow->directories[i]);
    }
    if (route->cache)
        cache_dump(route->cache, out);
    rules_dump(route, out);
    for (size_t i = 0; i < route->guard_count; i++)
        guard_dump(&route->guards[i], out);
    NUMBER(route, body_bytes_max);
    NUMBER(route, response_ms);
    TEXT(route, file);
    NUMBER(route, line);
    fputc('\n', out);
}

static void site_dump(const struct site *site, FILE *out)
{
    fprintf(out, "  site");
    NUMBER(site, access_log);
    texts_dump(out, "access_fields", site->access_fields);
    networks_dump("trusted", site->trusted, site->trusted_count, out);
    NUMBER(site, http2);
    NUMBER(site, header_ms);
    NUMBER(site, body_ms);
    NUMBER(site, send_ms);
    NUMBER(site, idle_ms);
    NUMBER(site, tunnel_ms);
    NUMBER(site, header_bytes_max);
    NUMBER(site, header_count_max);
    NUMBER(site, body_bytes_max);
    NUMBER(site, rate_bytes_min);
    for (size_t i = 0; i < site->host_count; i++) {
        fprintf(out, "\n  host");
        texts_dump(out, "names", site->hosts[i].names);
        fputc('\n', out);
        for (size_t k = 0; k < site->hosts[i].route_count; k++)
            route_dump(&site->hosts[i].routes[k], out);
    }
}

static void tls_dump(const struct listener_tls *tls, FILE *out)
{
    for (size_t i = 0; i < tls->certificate_count; i++) {
        TEXT(&tls->certificates[i], certificate_file);
        TEXT(&tls->certificates[i], key_file);
    }
    NUMBER(tls, version_min);
    TEXT(tls, ciphers);
    NUMBER(tls, client);
    TEXT(tls, client_ca_file);
    NUMBER(tls, tickets);
}

static void listener_dump(const struct listener *listener, FILE *out)
{
    fprintf(out, "listener");
    TEXT(listener, text);
    NUMBER(listener, kind);
    NUMBER(listener, path);
    TEXT(listener, path_why);
    bytes_dump(out, "address", &listener->address, sizeof listener->address);
    NUMBER(listener, port);
    NUMBER(listener, protocol);
    NUMBER(listener, service);
    NUMBER(listener, target_port);
    NUMBER(listener, line);
    TEXT(listener, file);
    networks_dump("proxy", listener->proxies, listener->proxy_count, out);
    access_dump(listener->access, out);
    flood_dump(listener->flood, out);
    NUMBER(listener, connections_max);
    NUMBER(listener, connections_per_client);
    NUMBER(listener, sticky);
    NUMBER(listener, token_at);
    NUMBER(listener, token_bytes);
    NUMBER(listener, idle_ms);
    for (size_t i = 0; i < listener->sni_count; i++) {
        texts_dump(out, "sni", listener->snis[i].names);
        NUMBER(&listener->snis[i], service);
    }
    if (listener->tls)
        tls_dump(listener->tls, out);
    fputc('\n', out);
    if (listener->site)
        site_dump(listener->site, out);
}

void topology_dump(const struct topology *topology, FILE *out)
{
    TEXT(topology, name);
    TEXT(topology, file);
    TEXT(topology, directory);
    quota_dump(&topology->quota, out);
    NUMBER(topology, steering);
    NUMBER(&topology->gateway, threads);
    NUMBER(&topology->gateway, connections_max);
    TEXT(topology, log_directory);
    NUMBER(topology, log_file_bytes_max);
    NUMBER(topology, log_files_max);
    for (size_t i = 0; i < topology->cache_count; i++) {
        TEXT(&topology->caches[i], name);
        NUMBER(&topology->caches[i], memory_bytes);
        NUMBER(&topology->caches[i], object_bytes);
        TEXT(&topology->caches[i], disk);
        NUMBER(&topology->caches[i], disk_bytes);
    }
    fputc('\n', out);
    for (size_t i = 0; i < topology->service_count; i++)
        service_dump(&topology->services[i], out);
    for (size_t i = 0; i < topology->service_count; i++)
        fprintf(out, "start %u\n", topology->start_order[i]);
    for (size_t i = 0; i < topology->listener_count; i++)
        listener_dump(&topology->listeners[i], out);
}
