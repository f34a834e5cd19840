#include "topology/mark.h"

#include <string.h>

#include "base/table.h"

/* One multiplication for eight bytes: marks live only while two topologies are compared. */
static void mark_number(uint64_t *mark, uint64_t number)
{
    uint64_t mixed = (*mark ^ number) * 0x9e3779b97f4a7c15ull;
    *mark = mixed ^ mixed >> 29;
}

/* With its length, so that ("ab", "c") and ("a", "bc") differ, and none from an empty one. */
static void mark_text(uint64_t *mark, const char *text)
{
    size_t length = text ? strlen(text) : 0;
    mark_number(mark, text ? length : UINT64_MAX);
    for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
        uint64_t part = 0;
        memcpy(&part, text + at, length - at < sizeof part ? length - at : sizeof part);
        mark_number(mark, part);
    }
}

static void mark_texts(uint64_t *mark, const char *const *texts, size_t count)
{
    mark_number(mark, count);
    for (size_t i = 0; i < count; i++)
        mark_text(mark, texts[i]);
}

/* A list that ends with NULL; NULL: none. */
static void mark_list(uint64_t *mark, const char *const *texts)
{
    size_t count = 0;
    while (texts && texts[count])
        count++;
    mark_number(mark, texts != NULL);
    mark_texts(mark, texts, count);
}

static void mark_service(uint64_t *mark, const struct topology *topology, uint32_t service)
{
    mark_text(mark, service < topology->service_count ? topology->services[service].name : NULL);
}

/* ---- sites ------------------------------------------------------------------------------------
 */

static void mark_match(uint64_t *mark, const struct route *route)
{
    mark_number(mark, route->path_kind);
    mark_text(mark, route->path);
    mark_list(mark, route->methods);
    mark_number(mark, route->header_count);
    for (size_t i = 0; i < route->header_count; i++) {
        mark_text(mark, route->headers[i].name);
        mark_text(mark, route->headers[i].value);
    }
}

static void mark_compression(uint64_t *mark, const struct compression *compression)
{
    mark_number(mark, compression != NULL);
    if (!compression)
        return;
    mark_number(mark, compression->coding_count);
    for (size_t i = 0; i < compression->coding_count; i++)
        mark_number(mark, compression->codings[i]);
    mark_list(mark, compression->types);
    mark_number(mark, compression->bytes_min);
    mark_number(mark, compression->level);
}

static void mark_follow(uint64_t *mark, const struct topology *topology, const struct route *route)
{
    const struct route_follow *follow = route->follow;
    mark_number(mark, route->internal);
    mark_number(mark, follow != NULL);
    if (!follow)
        return;
    mark_number(mark, follow->accel);
    mark_number(mark, follow->directory_count);
    for (size_t i = 0; i < follow->directory_count; i++)
        mark_text(mark, topology->directories[follow->directories[i]]);
}

static void mark_networks(uint64_t *mark, const struct network *networks, size_t count)
{
    mark_number(mark, count);
    for (size_t i = 0; i < count; i++) {
        *mark = hash_bytes(networks[i].address, sizeof networks[i].address, *mark);
        mark_number(mark, networks[i].length);
    }
}

static void mark_cache(uint64_t *mark, const struct topology *topology,
                       const struct route_cache *cache)
{
    mark_number(mark, cache != NULL);
    if (!cache)
        return;
    mark_text(mark, topology->caches[cache->store].name);
    for (size_t i = 0; cache->statuses[i]; i++)
        mark_number(mark, cache->statuses[i]);
    mark_text(mark, cache->key);
    mark_list(mark, cache->bypass);
    const uint64_t numbers[] = {cache->ttl_ms, cache->stale_ms, cache->refresh_ms, cache->lock_ms,
                                cache->obey};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mark_number(mark, numbers[i]);
    mark_networks(mark, cache->purgers, cache->purger_count);
}

static void mark_action(uint64_t *mark, const struct topology *topology, const struct route *route)
{
    mark_number(mark, route->kind);
    mark_number(mark, route->target_count);
    for (size_t i = 0; i < route->target_count; i++) {
        mark_service(mark, topology, route->targets[i].service);
        mark_number(mark, route->targets[i].weight);
        mark_number(mark, route->targets[i].role);
    }
    mark_text(mark, route->root);
    mark_text(mark, route->index);
    mark_text(mark, route->split);
    mark_text(mark, route->location);
    mark_number(mark, route->status);
    mark_text(mark, route->body);
    mark_text(mark, route->type);
    const struct route_files *files = route->files;
    if (!files)
        return;
    mark_text(mark, topology->directories[files->directory]);
    mark_number(mark, files->listing);
    mark_text(mark, files->index);
    mark_text(mark, files->fallback);
}

static void mark_changes(uint64_t *mark, const struct route *route)
{
    mark_number(mark, route->rewrite_count);
    for (size_t i = 0; i < route->rewrite_count; i++) {
        mark_text(mark, route->rewrites[i].strip);
        mark_text(mark, route->rewrites[i].prefix);
        mark_text(mark, route->rewrites[i].regex);
        mark_text(mark, route->rewrites[i].replacement);
    }
    mark_number(mark, route->headers_change_count);
    for (size_t i = 0; i < route->headers_change_count; i++) {
        mark_number(mark, route->headers_change[i].response);
        mark_number(mark, route->headers_change[i].action);
        mark_text(mark, route->headers_change[i].name);
        mark_text(mark, route->headers_change[i].value);
    }
}

static void mark_access(uint64_t *mark, const struct access_list *access)
{
    mark_number(mark, access ? access->count : UINT64_MAX);
    for (size_t i = 0; access && i < access->count; i++) {
        *mark = hash_bytes(access->segments[i].from, sizeof access->segments[i].from, *mark);
        mark_number(mark, access->segments[i].verdict);
    }
}

static void mark_flood(uint64_t *mark, const struct flood *flood)
{
    mark_number(mark, flood != NULL);
    if (!flood)
        return;
    const uint64_t numbers[] = {
        flood->connections.interval_ns, flood->connections.burst, flood->requests.interval_ns,
        flood->requests.burst,          flood->concurrent,        flood->ban_ms};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mark_number(mark, numbers[i]);
    mark_networks(mark, flood->exempt, flood->exempt_count);
}

static void mark_limit(uint64_t *mark, const struct guard_limit *limit)
{
    const uint64_t numbers[] = {limit->identity, limit->interval_ns, limit->burst, limit->requests,
                                limit->status};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mark_number(mark, numbers[i]);
    mark_text(mark, limit->key);
}

static void mark_own_route(uint64_t *mark, const struct topology *topology,
                           const struct route *route)
{
    mark_number(mark, route != NULL);
    if (route)
        mark_service(mark, topology, route->targets->service);
}

static void mark_request(uint64_t *mark, const struct topology *topology,
                         const struct guard_request *request)
{
    mark_own_route(mark, topology, request->route);
    mark_text(mark, request->path);
    mark_list(mark, request->copy);
    mark_text(mark, request->user);
    mark_number(mark, request->redirects);
    mark_number(mark, request->cache_ms);
    mark_text(mark, request->key);
}

static void mark_jwt(uint64_t *mark, const struct topology *topology, const struct guard_jwt *jwt)
{
    mark_number(mark, jwt->keys);
    *mark = hash_bytes(jwt->text, jwt->length, *mark);
    mark_own_route(mark, topology, jwt->route);
    mark_text(mark, jwt->path);
    mark_text(mark, jwt->realm);
    mark_text(mark, jwt->issuer);
    mark_text(mark, jwt->audience);
    mark_number(mark, jwt->claim_count);
    for (size_t i = 0; i < jwt->claim_count; i++) {
        mark_text(mark, jwt->claims[i].name);
        mark_text(mark, jwt->claims[i].value);
    }
    mark_number(mark, (uint64_t)jwt->leeway_s << 1 | jwt->endless);
}

static void mark_guard(uint64_t *mark, const struct topology *topology, const struct guard *guard)
{
    mark_number(mark, guard->kind);
    switch (guard->kind) {
    case GUARD_ACCESS:
        mark_access(mark, guard->access);
        return;
    case GUARD_RATE:
    case GUARD_REQUESTS:
        mark_limit(mark, guard->limit);
        return;
    case GUARD_BASIC:
        mark_text(mark, guard->basic->realm);
        mark_number(mark, guard->basic->user_count);
        for (size_t i = 0; i < guard->basic->user_count; i++) {
            mark_text(mark, guard->basic->users[i].name);
            mark_text(mark, guard->basic->users[i].hash);
        }
        return;
    case GUARD_REQUEST:
        mark_request(mark, topology, guard->request);
        return;
    case GUARD_JWT:
        mark_jwt(mark, topology, guard->jwt);
        return;
    case GUARD_CORS:
        mark_list(mark, guard->cors->origins);
        mark_number(mark, (uint64_t)guard->cors->any << 1 | guard->cors->credentials);
        mark_text(mark, guard->cors->methods);
        mark_text(mark, guard->cors->headers);
        mark_text(mark, guard->cors->expose);
        mark_text(mark, guard->cors->max_age);
        return;
    case GUARD_FLOOD: /* of listeners, in no list */
    case GUARD_KINDS:
        break;
    }
}

static void mark_route(uint64_t *mark, const struct topology *topology, const struct route *route)
{
    mark_match(mark, route);
    mark_action(mark, topology, route);
    mark_follow(mark, topology, route);
    mark_compression(mark, route->compression);
    mark_changes(mark, route);
    mark_number(mark, route->guard_count);
    for (size_t i = 0; i < route->guard_count; i++)
        mark_guard(mark, topology, &route->guards[i]);
    mark_cache(mark, topology, route->cache);
    mark_number(mark, route->body_bytes_max);
    mark_number(mark, route->response_ms);
    mark_text(mark, route->name);
}

static void mark_site(uint64_t *mark, const struct topology *topology, const struct site *site)
{
    mark_number(mark, site->host_count);
    for (size_t i = 0; i < site->host_count; i++) {
        const struct site_host *host = &site->hosts[i];
        mark_list(mark, host->names);
        mark_number(mark, host->route_count);
        for (size_t k = 0; k < host->route_count; k++)
            mark_route(mark, topology, &host->routes[k]);
    }
    mark_number(mark, site->access_log);
    mark_list(mark, site->access_fields);
    mark_networks(mark, site->trusted, site->trusted_count);
    const uint64_t numbers[] = {site->header_ms,        site->body_ms,
                                site->send_ms,          site->idle_ms,
                                site->tunnel_ms,        site->header_bytes_max,
                                site->header_count_max, site->body_bytes_max,
                                site->rate_bytes_min,   site->http2};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mark_number(mark, numbers[i]);
}

/* ---- listeners --------------------------------------------------------------------------------
 */

static void mark_tls(uint64_t *mark, const struct listener_tls *tls)
{
    mark_number(mark, tls->certificate_count);
    for (size_t i = 0; i < tls->certificate_count; i++) {
        mark_text(mark, tls->certificates[i].certificate_file);
        mark_text(mark, tls->certificates[i].key_file);
    }
    mark_number(mark, (uint64_t)tls->version_min);
    mark_text(mark, tls->ciphers);
    mark_number(mark, tls->client);
    mark_text(mark, tls->client_ca_file);
    mark_number(mark, tls->tickets);
}

uint64_t listener_mark(const struct topology *topology, const struct listener *listener)
{
    uint64_t mark = hash_seed();
    const uint64_t numbers[] = {listener->kind,
                                listener->path,
                                listener->protocol,
                                listener->port,
                                listener->target_port,
                                listener->role,
                                listener->connections_max,
                                listener->connections_per_client,
                                listener->sticky,
                                listener->token_at,
                                listener->token_bytes,
                                listener->idle_ms,
                                listener->site != NULL,
                                listener->tls != NULL,
                                listener->sni_count};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mark_number(&mark, numbers[i]);
    mark_text(&mark, listener->text);
    mark_service(&mark, topology, listener->service);
    for (size_t i = 0; i < listener->sni_count; i++) {
        mark_list(&mark, listener->snis[i].names);
        mark_service(&mark, topology, listener->snis[i].service);
    }
    mark_networks(&mark, listener->proxies, listener->proxy_count);
    mark_access(&mark, listener->access);
    mark_flood(&mark, listener->flood);
    if (listener->tls)
        mark_tls(&mark, listener->tls);
    if (listener->site)
        mark_site(&mark, topology, listener->site);
    return mark;
}

/* ---- services ---------------------------------------------------------------------------------
 */

static void mark_gateway(uint64_t *mark, const struct service_gateway *gateway)
{
    mark_number(mark, gateway->remote_count);
    for (size_t i = 0; i < gateway->remote_count; i++) {
        mark_text(mark, gateway->remotes[i].text);
        mark_number(mark, gateway->remotes[i].weight);
    }
    const struct service_tls *tls = &gateway->tls;
    mark_number(mark, (uint64_t)tls->on << 1 | tls->verify);
    const char *const texts[] = {tls->name,           tls->ca_file,         tls->certificate_file,
                                 tls->key_file,       gateway->hash_name,   gateway->cookie_name,
                                 gateway->check_path, gateway->check_host,  gateway->check_match,
                                 gateway->check_send, gateway->check_expect};
    mark_texts(mark, texts, sizeof texts / sizeof texts[0]);
    mark_number(mark, gateway->speaks);
    const struct service_breaker *breaker = &gateway->breaker;
    const uint64_t numbers[] = {
        gateway->proxy_protocol,    gateway->hash_key,        gateway->hash_bound_percent,
        gateway->slow_start_ms,     gateway->connections_max, gateway->requests_max,
        gateway->idle_max,          gateway->connect_ms,      gateway->send_ms,
        gateway->response_ms,       gateway->read_ms,         gateway->idle_ms,
        gateway->tunnel_ms,         gateway->retry_tries,     gateway->retry_budget_percent,
        gateway->retry_methods,     gateway->hold_max,        gateway->hold_ms,
        gateway->eject_failures,    gateway->eject_ms,        gateway->check_status_low,
        gateway->check_status_high, breaker->failures,        breaker->errors_percent,
        breaker->within_ms,         breaker->open_ms,         breaker->probes,
        breaker->status_low,        breaker->status_high};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mark_number(mark, numbers[i]);
}

static void mark_job(uint64_t *mark, const struct service_job *job)
{
    mark_number(mark, job != NULL);
    if (!job)
        return;
    const uint64_t numbers[] = {job->every_ms, job->daily,      job->at_second,
                                job->overlap,  job->timeout_ms, job->history};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mark_number(mark, numbers[i]);
}

/* What runs before a start is in the definition, but for how long it may take. */
static void mark_steps(uint64_t *mark, const struct service *service)
{
    mark_number(mark, service->before_start_count);
    for (size_t i = 0; i < service->before_start_count; i++)
        mark_number(mark, service->before_start[i].timeout_ms);
    mark_number(mark, service->after_stop_count);
    for (size_t i = 0; i < service->after_stop_count; i++) {
        mark_list(mark, service->after_stop[i].argv);
        mark_number(mark, service->after_stop[i].timeout_ms);
    }
}

static void mark_life(uint64_t *mark, const struct service *service)
{
    const uint64_t numbers[] = {service->check,
                                service->check_every_ms,
                                service->check_timeout_ms,
                                service->check_rise,
                                service->check_fall,
                                service->start_within_ms,
                                service->restart,
                                service->backoff_min_ms,
                                service->backoff_max_ms,
                                service->restart_tries,
                                service->restart_reset_ms,
                                (uint64_t)service->stop_signal,
                                service->stop_within_ms,
                                service->stop_drain_ms,
                                service->role.check,
                                service->role.every_ms,
                                service->role.timeout_ms,
                                service->role.fall,
                                service->priority,
                                service->scale.low,
                                service->scale.high,
                                service->scale.cpu_percent,
                                service->scale.memory_percent,
                                service->scale.connections,
                                service->scale.latency_us,
                                service->scale.latency_part,
                                service->scale.queue,
                                service->scale.idle_ms,
                                service->scale.cool_down_ms,
                                service->roll.surge,
                                service->roll.unavailable,
                                service->roll.within_ms,
                                service->roll.pause_ms,
                                service->roll.watch_ms,
                                service->roll.errors_percent};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mark_number(mark, numbers[i]);
    mark_list(mark, service->check_argv);
    mark_list(mark, service->role.argv);
    mark_text(mark, service->role.user);
    mark_text(mark, service->role.database);
}

uint64_t service_mark(const struct service *service)
{
    uint64_t mark = hash_seed();
    mark_number(&mark, service->publish);
    mark_number(&mark, service->balance);
    mark_number(&mark, service->weight_count);
    for (size_t i = 0; i < service->weight_count; i++)
        mark_number(&mark, service->weights[i]);
    mark_gateway(&mark, &service->gateway);
    mark_job(&mark, service->job);
    mark_life(&mark, service);
    mark_steps(&mark, service);
    return mark;
}
