/* libchatmail's errors and configuration, as Dovecot likes them. */

#include "chatmail-common.h"

int chatmail_failed(chatmail_error_t **err, const char **error_r)
{
	const char *message = chatmail_error_message(*err);

	*error_r = message == NULL ? "unknown error" : t_strdup(message);
	chatmail_error_free(*err);
	*err = NULL;
	return -1;
}

int chatmail_config_need(const char *path, chatmail_config_t **config,
			 const char **error_r)
{
	chatmail_error_t *err = NULL;

	if (*config != NULL)
		return 0;
	if (chatmail_config_load(CHATMAIL_STR(path), config, &err) != CHATMAIL_OK)
		return chatmail_failed(&err, error_r);
	return 0;
}
