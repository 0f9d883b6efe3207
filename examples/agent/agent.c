/* A provisioning agent: it keeps a host's air gap as a policy file says.
 *
 *     agent POLICY ADDRESS PORT [SECONDS]
 *
 * Whenever the file is written, or on SIGHUP, it plans and applies the policy
 * under guard: what is loaded counts only if the agent can still reach ADDRESS
 * at PORT, from where it is provisioned, within SECONDS (60); else what was
 * there before comes back, also if the agent dies meanwhile. It ends on SIGTERM
 * and SIGINT, and leaves the host sealed. */
#include <airgap.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    ATTEMPT_MS = 2000, /* for one try of the health check */
    PAUSE_MS = 250,    /* between two of them */
    RETRY_MS = 5000,   /* after a failure that may pass by itself */
};

/* How a wait or a check ended. */
enum outcome { DONE, FAILED, STOPPED };

struct agent {
    const char *policy_path;
    const char *policy_name; /* its last part, as inotify reports it */
    struct sockaddr_storage health;
    socklen_t health_length;
    unsigned seconds;
    airgap_host_t *host;
    int signals;
    int changes;
    /* Which signals came while the agent was busy. */
    bool stop, reload;
};

static void say(const char *format, ...)
{
    char when[32];
    time_t now = time(NULL);
    struct tm utc;
    va_list arguments;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    printf("%s ", when);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads the signals that came. */
static void read_signals(struct agent *agent)
{
    struct signalfd_siginfo info;
    while (read(agent->signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGHUP)
            agent->reload = true;
        else
            agent->stop = true;
    }
}

/* Reads what happened in the policy's folder; whether it was the policy. */
static bool policy_was_written(struct agent *agent)
{
    _Alignas(struct inotify_event) char buffer[4096];
    bool written = false;
    ssize_t length;
    while ((length = read(agent->changes, buffer, sizeof buffer)) > 0) {
        for (char *at = buffer; at < buffer + length;) {
            const struct inotify_event *event = (const struct inotify_event *)at;
            /* Where events were lost, the policy's may be among them. */
            if (event->mask & IN_Q_OVERFLOW ||
                (event->len > 0 && strcmp(event->name, agent->policy_name) == 0))
                written = true;
            at += sizeof *event + event->len;
        }
    }
    return written;
}

/* Waits for a descriptor (none if negative), and no longer than a signal to
 * stop takes to come. */
static enum outcome wait_for(struct agent *agent, int descriptor, short events, int milliseconds)
{
    long long until = now_ms() + milliseconds;
    for (;;) {
        struct pollfd polled[] = {{.fd = agent->signals, .events = POLLIN}, {.fd = descriptor, .events = events}};
        long long left = until - now_ms();
        int ready = poll(polled, 2, left > 0 ? (int)left : 0);
        if (ready < 0 && errno != EINTR)
            return FAILED;
        read_signals(agent);
        if (agent->stop)
            return STOPPED;
        if (ready > 0 && polled[1].revents)
            return DONE;
        if (now_ms() >= until)
            return FAILED;
    }
}

/* Whether the place that this host is provisioned from can be reached now. */
static enum outcome reach(struct agent *agent)
{
    int error = 0;
    socklen_t length = sizeof error;
    int descriptor = socket(agent->health.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return FAILED;
    enum outcome outcome = DONE;
    if (connect(descriptor, (const struct sockaddr *)&agent->health, agent->health_length) != 0) {
        outcome = errno == EINPROGRESS ? wait_for(agent, descriptor, POLLOUT, ATTEMPT_MS) : FAILED;
        if (outcome == DONE && (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0))
            outcome = FAILED;
    }
    close(descriptor);
    return outcome;
}

/* Tries to reach it for two thirds of the time that there is, so that there is
 * time left to confirm. */
static enum outcome health_check(struct agent *agent)
{
    long long until = now_ms() + (long long)agent->seconds * 1000 * 2 / 3;
    do {
        enum outcome outcome = reach(agent);
        if (outcome != FAILED)
            return outcome;
        if (wait_for(agent, -1, 0, PAUSE_MS) == STOPPED)
            return STOPPED;
    } while (now_ms() < until);
    return FAILED;
}

/* Confirms what was applied, or takes it back. */
static airgap_status_t judge(struct agent *agent, airgap_error_t **error)
{
    switch (health_check(agent)) {
    case DONE: {
        airgap_status_t status = airgap_host_confirm(agent->host, error);
        if (status == AIRGAP_OK)
            say("confirmed: the health check passed");
        return status;
    }
    case STOPPED: say("told to stop before the health check passed: rolling back"); break;
    case FAILED: say("the health check failed: rolling back"); break;
    }
    airgap_status_t status = airgap_host_rollback(agent->host, error);
    if (status == AIRGAP_OK)
        say("rolled back to what was loaded before");
    return status;
}

static void say_changes(const airgap_plan_t *plan)
{
    static const char *const KINDS[] = {
        [AIRGAP_CHANGE_ADDED] = "opens", [AIRGAP_CHANGE_REMOVED] = "closes", [AIRGAP_CHANGE_CHANGED] = "changes"};
    airgap_diagnostics_t *warnings = NULL;
    for (size_t i = 0; i < airgap_plan_change_count(plan); i++) {
        airgap_change_t change = {.size = sizeof change};
        if (airgap_plan_change(plan, i, &change, NULL) == AIRGAP_OK)
            say("%s %s", KINDS[change.kind], change.opening);
    }
    if (airgap_plan_warnings(plan, &warnings, NULL) != AIRGAP_OK)
        return;
    for (size_t i = 0; i < airgap_diagnostics_count(warnings); i++) {
        airgap_diagnostic_t warning = {.size = sizeof warning};
        if (airgap_diagnostics_get(warnings, i, &warning, NULL) == AIRGAP_OK)
            say("%s", warning.rendered);
    }
    airgap_diagnostics_free(warnings);
}

/* Makes the air gap that of the policy file. Whether it is worth another try
 * though the file is the same. */
static bool provision(struct agent *agent)
{
    airgap_error_t *error = NULL;
    airgap_policy_t *policy = NULL;
    airgap_plan_t *plan = NULL;
    airgap_apply_options_t options = {.size = sizeof options, .confirm_within = (uint64_t)agent->seconds * 1000};

    airgap_status_t status = airgap_policy_load(agent->policy_path, strlen(agent->policy_path), &policy, &error);
    if (status == AIRGAP_OK)
        status = airgap_host_plan(agent->host, policy, &plan, &error);
    if (status == AIRGAP_OK && !airgap_plan_changed(plan)) {
        say("the air gap is that of %s", agent->policy_path);
    } else if (status == AIRGAP_OK) {
        say_changes(plan);
        status = airgap_host_apply(agent->host, plan, &options, NULL, &error);
        if (status == AIRGAP_OK) {
            say("loaded, and to be confirmed within %u s", agent->seconds);
            status = judge(agent, &error);
        }
    }
    if (status != AIRGAP_OK)
        say("failed (%s): %s", airgap_status_name((int32_t)status), airgap_error_message(error));

    airgap_plan_free(plan);
    airgap_policy_free(policy);
    airgap_error_free(error);
    switch (status) {
    case AIRGAP_OK:
    case AIRGAP_ERROR_POLICY:
    case AIRGAP_ERROR_ARGUMENT:
    case AIRGAP_ERROR_NOT_PERMITTED: return false;
    default: return true;
    }
}

static void run(struct agent *agent)
{
    bool again = provision(agent);
    while (!agent->stop) {
        enum outcome outcome = wait_for(agent, agent->changes, POLLIN, again ? RETRY_MS : 60000);
        bool written = outcome == DONE && policy_was_written(agent);
        if (outcome != STOPPED && (written || agent->reload || (again && outcome == FAILED))) {
            agent->reload = false;
            again = provision(agent);
        }
    }
    say("stopped; what is loaded stays loaded");
}

/* Reads the address of the health check. */
static bool read_address(struct agent *agent, const char *address, const char *port)
{
    char *end;
    unsigned long number = strtoul(port, &end, 10);
    struct sockaddr_in *four = (struct sockaddr_in *)&agent->health;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&agent->health;
    if (*port == '\0' || *end != '\0' || number == 0 || number > 65535)
        return false;
    if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)number);
        agent->health_length = sizeof *four;
        return true;
    }
    if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)number);
        agent->health_length = sizeof *six;
        return true;
    }
    return false;
}

/* Opens the descriptors of signals and of the policy's folder. */
static bool listen_for_events(struct agent *agent)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &wanted, NULL) != 0)
        return false;
    agent->signals = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
    agent->changes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (agent->signals < 0 || agent->changes < 0)
        return false;
    /* The folder: who writes a file anew renames another to its name. */
    char *copy = strdup(agent->policy_path);
    bool watched = copy && inotify_add_watch(agent->changes, dirname(copy), IN_CLOSE_WRITE | IN_MOVED_TO) >= 0;
    free(copy);
    return watched;
}

int main(int argc, char **argv)
{
    struct agent agent = {.signals = -1, .changes = -1, .seconds = 60};
    airgap_error_t *error = NULL;
    int code = 1;

    if (argc == 5) {
        char *end;
        unsigned long seconds = strtoul(argv[4], &end, 10);
        agent.seconds = *argv[4] && !*end && seconds <= 3600 ? (unsigned)seconds : 0;
    }
    if ((argc != 4 && argc != 5) || agent.seconds == 0 || !read_address(&agent, argv[2], argv[3])) {
        fprintf(stderr, "usage: agent POLICY ADDRESS PORT [SECONDS]\n");
        return 2;
    }
    agent.policy_path = argv[1];
    agent.policy_name = strrchr(argv[1], '/') ? strrchr(argv[1], '/') + 1 : argv[1];

    if (!listen_for_events(&agent)) {
        fprintf(stderr, "agent: cannot watch the folder of %s: %s\n", agent.policy_path, strerror(errno));
    } else if (airgap_host_open(&agent.host, &error) != AIRGAP_OK) {
        fprintf(stderr, "agent: %s\n", airgap_error_message(error));
    } else {
        say("libairgap %s keeps the air gap of %s", airgap_version(), agent.policy_path);
        run(&agent);
        code = 0;
    }
    airgap_error_free(error);
    airgap_host_free(agent.host);
    if (agent.changes >= 0)
        close(agent.changes);
    if (agent.signals >= 0)
        close(agent.signals);
    return code;
}
